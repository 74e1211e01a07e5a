"""Names, products and the many ways people write an Angolan phone number."""

from random import Random
from typing import Final

from simulator.model import Person, Product


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES: Final = _words("""
    Adão Adriana Afonso Albertina Amélia Ana André Antónia António Armando Augusto Beatriz Bernardo
    Carlos Catarina Celeste Cristina Daniel Delfina Domingas Domingos Eduardo Elisa Emília Esperança Eva
    Fernando Filomena Francisca Francisco Garcia Graça Helena Inês Isabel Jacinto Joana João Joaquim
    Jorge José Josefa Júlia Laura Lourenço Lucas Lúcia Luísa Madalena Manuel Marcelina Margarida Maria
    Mário Marta Mateus Miguel Nazaré Nelson Nzinga Osvaldo Paula Paulo Pedro Rosa Sebastião Suzana
    Teresa Tomás Valdemar Victória Yara Zacarias
""")
LAST_NAMES: Final = _words("""
    Afonso Agostinho Almeida António Baptista Bernardo Bumba Cabral Caetano Capita Cardoso Cassoma
    Chipenda Chivukuvuku Costa Cunha Domingos Fernandes Ferreira Francisco Gaspar Gomes Gonçalves João
    Kalandula Kiala Kimbundu Lopes Lukamba Luvualu Machado Manuel Martins Matondo Mendes Miguel
    Muachissengue Muhongo Nascimento Neto Ngola Nunes Nzau Paulo Pedro Pereira Pinto Quissanga Ribeiro
    Sambo Santos Sebastião Silva Simão Soares Tchimbali Teixeira Tomás Vunge Zola
""")
SHOPS: Final = (
    "Mercearia",
    "Cantina",
    "Padaria",
    "Restaurante",
    "Escola",
    "Clínica",
    "Hotel",
    "Farmácia",
    "Ginásio",
)
PLACES: Final = (
    "Kilamba",
    "Talatona",
    "Maianga",
    "Viana",
    "Benfica",
    "Cazenga",
    "Lobito",
    "Huambo",
    "Lubango",
    "Soyo",
)

EXAMPLE_NATIONAL: Final = "923456789"

#: Prices in centimos. The delivery service carries no SKU, as services often do not.
PRODUCTS: Final = (
    ("ATW-05L", "Água Twezah 0,5L", 15_000),
    ("ATW-15L", "Água Twezah 1,5L", 29_990),
    ("ATW-5L", "Água Twezah 5L", 5_000),
    ("ATW-10L", "Água Twezah 10L", 119_950),
    ("ATW-20L", "Garrafão Água Twezah 20L", 245_000),
    ("ATW-05L-P12", "Água Twezah 0,5L (pack de 12)", 168_075),
    ("ATW-15L-P6", "Água Twezah 1,5L (pack de 6)", 172_333),
    ("ATW-GAS-033", "Água Twezah com gás 0,33L", 19_999),
    ("ATW-DISP", "Dispensador de água", 3_850_000),
    (None, "Entrega ao domicílio", 100_000),
)


def products(prefix: str = "") -> list[Product]:
    """The catalogue, with ids 1, 2, ... behind a prefix."""
    return [Product(f"{prefix}{number}", *row) for number, row in enumerate(PRODUCTS, start=1)]


def make_people(random: Random, count: int) -> list[Person]:
    """Distinct phone numbers; about two in a hundred people have none."""
    people, taken = [], {EXAMPLE_NATIONAL}
    for _ in range(count):
        national = None if random.random() < 0.02 else make_number(random, taken)
        company = (
            f"{random.choice(SHOPS)} {random.choice(PLACES)}" if random.random() < 0.1 else None
        )
        people.append(
            Person(random.choice(FIRST_NAMES), random.choice(LAST_NAMES), company, national)
        )
    return people


def make_number(random: Random, taken: set[str]) -> str:
    """A mobile number of nine digits that is not taken; it is taken afterwards."""
    while (national := f"9{random.choice('12349')}{random.randrange(10**7):07d}") in taken:
        pass
    taken.add(national)
    return national


def write_phone(random: Random, national: str) -> str:
    """A number as somebody types it."""
    first, second, third = national[:3], national[3:6], national[6:]
    return random.choice(
        (
            f"+244 {first} {second} {third}",
            f"+244{national}",
            national,
            f"{first} {second} {third}",
            f"00244 {first}-{second}-{third}",
            f"(244) {first} {second} {third}",
            f"244{national}",
            f"{first}-{second}-{third}",
            f" {first}.{second}.{third} ",
            f"(+244) {first}{second}{third}",
        )
    )
