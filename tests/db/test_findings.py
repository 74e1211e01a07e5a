"""A change of the rules says what of the file is not true, beside what is stored."""

from zoneinfo import ZoneInfo

from sql.db import connect
from tasks.program.change import shown
from tasks.program.findings import check_file
from tests.support.books import Books
from tests.support.rules_file import applied, bonus, looked, two  # noqa: F401  a fixture


def test_what_is_stored_is_looked_at(two: Books) -> None:  # noqa: F811  the fixture
    applied(two, bonus(begins="2999-01-01"))
    text = (
        '[[promotion]]\nid = "water"\nvalid_from = 2999-01-01\nkind = "product_bonus"\n'
        'match = { skus = ["NEVER"] }\npercent = 5\n'
        'when = { tiers = ["vip"], currencies = ["AOA", "EUR"] }\n'
    )
    preview = looked(two, text)
    tiers = "the program has no tier vip; it has lead, silver, gold, platinum"
    euro = "the program gives no points for EUR; write `EUR = ...` under [program.points_per_unit]"
    assert preview.findings.mistakes == (
        f"line 7: promotion 'water'.when.tiers: {tiers}",
        f"line 7: promotion 'water'.when.currencies: {euro}",
    )
    assert preview.findings.notes[0].startswith("promotion 'p': is not in the file and stays in")
    assert (
        "line 7: promotion 'water'.when.currencies: no sale was read" in preview.findings.notes[1]
    )
    lines = shown(preview, ZoneInfo("Africa/Luanda"))
    assert [line.split(":")[0] for line in lines[-4:]] == ["Mistake", "Mistake", "Note", "Note"]
    with connect(two.dsn) as connection:
        _, findings = check_file(text, connection)
    assert findings == preview.findings
    # Without a database the file stands for itself.
    assert check_file(text, None)[1].mistakes == ()
