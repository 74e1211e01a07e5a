"""Tables as everybody's programs export them: read exactly, or refused by name, and no document in part."""

import io
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connectors import spec_for
from connectors.kit.described.documents import column_pointer
from connectors.kit.mapping import Mapped, map_page
from connectors.kit.spec import Account
from settings import PROJECT_ROOT

CASES = PROJECT_ROOT.parent / "shared" / "samples" / "field-cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"no field cases in {CASES}")
LINES = {
    "external_id": "Factura", "invoice_number": "Factura", "issued_at": "Data", "customer_phone": "Telefone",
    "lines.name": "Produto", "lines.amount_minor": "Valor",
}  # fmt: skip
WHOLE = {
    "external_id": "Factura", "invoice_number": "Factura", "issued_at": "Data", "customer_phone": "Telefone",
    "total_minor": "Total",
}  # fmt: skip
SUMS = {"totals": "sum of the lines"}
JOIN = {"rows_without_id": "part of the document above"}
HEADER = "Factura;Data;Telefone;Total\n"
OF_LINES = "Factura;Data;Telefone;Produto;Valor\n"


def mapped(body: bytes | str, mapping: dict[str, str] = WHOLE, **options: Any) -> Mapped:
    settings = {"amounts": "decimal comma", "dates": "day first", **options}
    paths = {name: column_pointer(path) for name, path in mapping.items()}
    vendor = Account(
        "file",
        "caixa",
        options=settings,
        paths=paths,
        default_currency="AOA",
        timezone="Africa/Luanda",
    )
    spec = spec_for(vendor)
    sent = body.encode() if isinstance(body, str) else body
    return map_page(spec, spec.streams[0], vendor, sent, page_id=1)


def sales(found: Mapped) -> dict[str, tuple[str, int]]:
    """Phone (its end) and total per document that can be stored."""
    bad = set(found.problems.select("page_id", "record_no").rows())
    return {
        row["external_id"]: (row["customer_phone"][-3:], row["total_minor"])
        for row in found.invoices.iter_rows(named=True)
        if (row["page_id"], row["record_no"]) not in bad
    }


def reasons(found: Mapped) -> list[str]:
    return found.problems["reason"].to_list()


def configured(folder: str, file: str, **options: Any) -> Mapped:
    (settings,) = (CASES / folder).glob("f*.cfg.json")
    values = json.loads(settings.read_text(encoding="utf-8"))
    return mapped(
        (CASES / folder / file).read_bytes(), values.pop("field_mapping"), **{**values, **options}
    )


@needs_cases
class TestFieldCases:
    """What happened to others, with the value that is right."""

    def test_title_lines_and_total(self) -> None:
        found = configured("title-lines-and-total", "f01.csv")
        assert sales(found) == {"FT 1": ("001", 150000), "FT 2": ("002", 200000)}
        assert reasons(found) == []

    def test_trailing_delimiter(self) -> None:
        found = configured("trailing-delimiter", "f02.csv")
        assert sales(found) == {"FT 1": ("001", 150000), "FT 2": ("002", 200000)}

    def test_ids_in_exponent_notation(self) -> None:
        found = configured("ids-in-exponent-notation", "f05.csv")
        assert sales(found) == {}
        assert [row["record_no"] for row in found.problems.iter_rows(named=True)] == [2, 3]
        assert all("exponent notation" in reason for reason in reasons(found))

    def test_number_restarts_per_series(self) -> None:
        found = configured("number-restarts-per-series", "f06.csv")
        assert sales(found) == {}
        (reason,) = reasons(found)
        assert "disagree on phone and date (rows 2, 3)" in reason
        values = {**LINES, "external_id": "Serie + Factura", "invoice_number": "Serie + Factura"}
        body = (CASES / "number-restarts-per-series" / "f06.csv").read_bytes()
        assert sales(mapped(body, values, **SUMS)) == {
            "A2026/17": ("003", 100000),
            "B2026/17": ("004", 200000),
        }

    def test_continuation_rows(self) -> None:
        refused = configured("continuation-rows", "f07.csv")
        assert sales(refused) == {"FT 10": ("006", 100000)}
        assert set(refused.identities["external_id"]) == {"FT 9"}
        joined = configured("continuation-rows", "f07.csv", **JOIN)
        assert sales(joined) == {"FT 9": ("005", 550000), "FT 10": ("006", 100000)}
        assert joined.lines["external_id"].to_list() == ["FT 9", "FT 9", "FT 9", "FT 10"]

    def test_id_with_point_zero(self) -> None:
        assert sales(configured("id-with-point-zero", "in.csv")) == {"1001": ("001", 150000)}

    def test_parquet_bytes(self) -> None:
        body = (CASES / "parquet-bytes" / "p2.parquet").read_bytes()
        found = mapped(body, {}, amounts="decimal", dates="year first")
        assert {key: total for key, (_, total) in sales(found).items()} == {"B1": 3030, "B2": 30}


class TestHeader:
    """It is looked for, and columns are known however they are written."""

    @pytest.mark.parametrize(
        "header",
        [
            "FACTURA;data;Telefone ;Total",
            " Factura;Data ; telefone;TOTAL:",
            "Factura\u00a0;Data;Telefone;\u200bTotal",
            '"Factura";"Data";"Telefone";"Total"',
        ],
    )
    def test_case_and_spaces(self, header: str) -> None:
        assert sales(mapped(f"{header}\nFT 1;02/11/2026;923100001;10,00\n")) == {
            "FT 1": ("001", 1000)
        }

    def test_two_words(self) -> None:
        text = "Nº  Factura;DATA;Telefone;total  geral\nFT 1;02/11/2026;923100001;10,00\n"
        assert sales(
            mapped(text, {**WHOLE, "external_id": "Nº Factura", "total_minor": "Total Geral"})
        ) == {"FT 1": ("001", 1000)}

    @pytest.mark.parametrize(
        "above",
        [
            "Relatório;;;\n\n",
            "Empresa: Água, Lda\nNIF: 5417; Loja 3\n\n",
            ";;Cliente;Valores\n",
            '"Vendas" de Novembro\n',
            'Título "sem fim\n',
            "sep=;\nVendas\n",
            "a,b,c,d,e,f\n" * 40,
        ],
    )
    def test_lines_above(self, above: str) -> None:
        found = mapped(above + HEADER + "FT 1;02/11/2026;923100001;10,00\n")
        assert sales(found) == {"FT 1": ("001", 1000)}
        assert reasons(found) == []

    def test_it_is_said_where_it_is_looked_for(self) -> None:
        found = mapped("Doc;Quando\n1;2\n")
        assert reasons(found) == [
            (
                'this file cannot be read: none of its first 100 rows has the column "Factura", in which ids are looked for, '
                'so its header was not found: name the column as external_id under "Field mapping", or choose the delimiter'
            )
        ]

    def test_names_that_come_twice(self) -> None:
        text = "Factura;Obs;Data;Telefone;Obs;Total;;\nFT 1;a;02/11/2026;923100001;b;10,00;;\n"
        assert sales(mapped(text)) == {"FT 1": ("001", 1000)}
        found = mapped("Factura;Total;Data;Telefone;Total\nFT 1;1,00;02/11/2026;923100001;10,00\n")
        assert "two columns have the same name, and the block maps it: Total" in reasons(found)[0]
        text = "Factura;TOTAL;Data;Telefone;Total\nFT 1;1,00;02/11/2026;923100001;10,00\n"
        assert sales(mapped(text)) == {"FT 1": ("001", 1000)}

    def test_it_comes_again_on_every_page(self) -> None:
        rows = "".join(
            f"{HEADER}FT {n};02/11/2026;923100001;10,00\nPágina {n} de 3\n\n" for n in range(1, 4)
        )
        found = mapped("Relatório\n" + rows)
        assert list(sales(found)) == ["FT 1", "FT 2", "FT 3"]
        assert reasons(found) == []


class TestRows:
    """Cells too many and too few, totals and remarks."""

    @pytest.mark.parametrize(
        "row", ["FT 1;02/11/2026;923100001;10,00;;;", "FT 1;02/11/2026;923100001;10,00; ;\u00a0"]
    )
    def test_surplus_blank_cells(self, row: str) -> None:
        assert sales(mapped(HEADER + row + "\n")) == {"FT 1": ("001", 1000)}

    def test_surplus_cells_that_hold_something(self) -> None:
        found = mapped("Factura,Data,Telefone,Total\nFT 1,02/11/2026,923100001,1.500,00\n")
        assert reasons(found) == ["has 5 columns, and the header has 4"]
        assert sales(found) == {}

    def test_missing_trailing_cells(self) -> None:
        text = "Factura;Data;Telefone;Total;Obs;Estado\nFT 1;02/11/2026;923100001;10,00\n"
        assert sales(mapped(text, {**WHOLE, "status": "Estado"})) == {"FT 1": ("001", 1000)}

    def test_a_file_that_was_cut_off(self) -> None:
        text = HEADER + "FT 1;02/11/2026;923100001;10,00\nFT 2;02/11/2026;9231"
        found = mapped(text)
        assert list(sales(found)) == ["FT 1"]
        assert 'ends before the column "Total": the file seems to be cut off' in reasons(found)

    @pytest.mark.parametrize(
        "row",
        [
            "TOTAL;;;3.500,00", "Total Geral;;;10,00", "Subtotal;;;10,00", "Sub-total FT 1;;;10,00", "TOTAIS:;;;10,00",
            ";TOTAL GERAL;;10,00", ";;Total;10,00", ";;;10,00;", "Soma;;;10,00", "***Total***;;;10,00",
            "Processado por programa certificado n.º 41/AGT", "Processado por programa certificado n.º 41/AGT;;;",
            "Página 1 de 3;;;", "Emitido em 30/11/2026 10:00", "Cliente: Maria 12;;;", "Loja Viana;;;", "Novembro 2026",
            "Documento processado por computador;;;", "---;;;", "Nº de documentos: 2;;;",
        ],
    )  # fmt: skip
    def test_totals_and_remarks_are_no_documents(self, row: str) -> None:
        found = mapped(
            f"{HEADER}FT 1;02/11/2026;923100001;10,00\n{row}\nFT 2;02/11/2026;923100002;5,00\n",
            **JOIN,
        )
        assert sales(found) == {"FT 1": ("001", 1000), "FT 2": ("002", 500)}
        if (
            row != ";;;10,00;"
        ):  # an amount with nothing beside it may be a total, and is not guessed at
            assert reasons(found) == []

    def test_a_subtotal_below_the_lines_of_a_document(self) -> None:
        text = OF_LINES + (
            "FT 1;02/11/2026;923100001;Água;10,00\nFT 1;;;Copo;5,00\nFT 1;;;Total;15,00\n"
            "FT 2;02/11/2026;923100002;Água;10,00\n;;;Subtotal;10,00\nTotal Geral;;;;25,00\n"
        )
        assert sales(mapped(text, LINES, **SUMS, **JOIN)) == {
            "FT 1": ("001", 1500),
            "FT 2": ("002", 1000),
        }

    @pytest.mark.parametrize("row", ["FT 7;;;", "FT 7;;;10,00", "17;;;"])
    def test_a_document_that_says_nothing_else_is_rejected_and_not_passed_over(
        self, row: str
    ) -> None:
        found = mapped(f"{HEADER}FT 1;02/11/2026;923100001;10,00\n{row}\n")
        assert list(sales(found)) == ["FT 1"]
        assert {problem["record_no"] for problem in found.problems.iter_rows(named=True)} == {3}

    def test_a_line_end_inside_of_a_text(self) -> None:
        text = 'Factura;Data;Telefone;"Total\ncom IVA"\n"FT 1";02/11/2026;"923\n100001";10,00\n'
        assert sales(mapped(text, {**WHOLE, "total_minor": "Total com IVA"})) == {
            "FT 1": ("001", 1000)
        }


class TestEncodings:
    """A byte order mark says more than the setting."""

    @pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
    @pytest.mark.parametrize(
        "written", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
    )
    def test_unicode_whatever_is_set(self, encoding: str, written: str) -> None:
        text = OF_LINES + "FT 1;02/11/2026;923100001;Garrafão 20L;10,00\n"
        found = mapped(text.encode(written), LINES, encoding=encoding, **SUMS)
        assert found.lines["name"].to_list() == ["Garrafão 20L"]

    def test_windows_1252(self) -> None:
        body = (OF_LINES + "FT 1;02/11/2026;923100001;Garrafão 20L;10,00\n").encode("cp1252")
        assert mapped(body, LINES, encoding="windows-1252", **SUMS).lines["name"].to_list() == [
            "Garrafão 20L"
        ]

    def test_json_with_a_mark(self) -> None:
        sale = {"id": "1", "customer_phone": "923100001", "total": 5, "issued_at": "2026-11-02"}
        for written in ("utf-8-sig", "utf-16"):
            assert list(sales(mapped(json.dumps([sale]).encode(written), {}))) == ["1"]


class TestRowsOfOneDocument:
    """They agree, or are refused by name; what a row leaves blank another says."""

    @pytest.mark.parametrize(
        ("column", "field", "values", "name"),
        [
            ("Telefone", "customer_phone", ("923100001", "923100002"), "phone"),
            ("Data", "issued_at", ("02/11/2026", "03/11/2026"), "date"),
            ("Moeda", "currency", ("AOA", "USD"), "currency"),
            ("Tipo", "kind", ("FT", "NC"), "kind"),
            ("Estado", "status", ("paid", "void"), "status"),
            ("Cliente", "customer_external_id", ("C1", "C2"), "customer"),
        ],
    )
    def test_a_difference_is_named(
        self, column: str, field: str, values: Sequence[str], name: str
    ) -> None:
        base = {
            "Factura": "FT 1",
            "Data": "02/11/2026",
            "Telefone": "923100001",
            "Valor": "10,00",
            "Produto": "A",
        }
        rows = [{**base, column: value} for value in values]
        names = list(rows[0])
        text = "\n".join(";".join(row[one] for one in names) for row in rows)
        found = mapped(
            f"{';'.join(names)}\n{text}\n", {**LINES, field: column},
            **SUMS, document_types={"FT": "invoice", "NC": "credit_note"},
        )  # fmt: skip
        assert sales(found) == {}
        (reason,) = reasons(found)
        assert f"disagree on {name} (rows 2, 3)" in reason
        assert "923" not in reason
        assert found.identities["external_id"].to_list() == ["FT 1"]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("FT 1;02/11/2026;923 100 001;A;10,00", "FT 1;02/11/2026;+244923100001;B;5,00"),
            (
                "FT 1;02/11/2026 10:00;923100001;A;10,00",
                "FT 1;02/11/2026 10:01;923100001 (Ana);B;5,00",
            ),
            ("FT 1;;;A;10,00", "FT 1;02/11/2026;923100001;B;5,00"),
            ("FT 1;02/11/2026;;A;10,00", "FT  1 ;;923100001;B;5,00"),
            ("FT 1;02/11/2026;923100001;A;10,00", "FT\u00a01;02/11/2026;923100001;B;5,00"),
            ("FT 1;02/11/2026;923100001;A;10,00", "\u200bFT 1;;;B;5,00"),
            ("FT 1;02/11/2026;923100001;A;10,00", "FT 1"),
        ],
    )
    def test_what_means_the_same_is_one_document(self, first: str, second: str) -> None:
        found = mapped(f"{OF_LINES}{first}\n{second}\n", LINES, **SUMS)
        assert sales(found) == {"FT 1": ("001", 1500 if "5,00" in second else 1000)}

    def test_rows_need_not_be_together(self) -> None:
        rows = [
            "FT 1;02/11/2026;923100001;A;10,00",
            "FT 2;02/11/2026;923100002;A;1,00",
            "FT 1;;;B;5,00",
        ]
        assert sales(mapped(OF_LINES + "\n".join(rows) + "\n", LINES, **SUMS)) == {
            "FT 1": ("001", 1500), "FT 2": ("002", 100),
        }  # fmt: skip

    def test_a_bad_row_takes_its_document_with_it(self) -> None:
        rows = [
            "FT 1;02/11/2026;923100001;A;10,00",
            "FT 1;;;B;5,00;6;7",
            "FT 2;02/11/2026;923100002;A;1,00",
        ]
        found = mapped(OF_LINES + "\n".join(rows) + "\n", LINES, **SUMS)
        assert list(sales(found)) == ["FT 2"]
        assert found.identities.select("record_no", "external_id").rows() == [(3, "FT 1")]

    def test_a_document_that_is_there_once_per_spelling_counts_once(self) -> None:
        rows = [
            f"{key};02/11/2026;923100001;{name};10,00" for key in ("17", "17.0") for name in "AB"
        ]
        assert sales(mapped(OF_LINES + "\n".join(rows) + "\n", LINES, **SUMS)) == {
            "17": ("001", 2000)
        }
        found = mapped(OF_LINES + "\n".join([*rows[:3], "17.0;;;C;1,00"]) + "\n", LINES, **SUMS)
        assert sales(found) == {}
        assert "written in several ways" in reasons(found)[0]


class TestRowsWithoutAnId:
    """Refused with the document they belong to, or a part of it: as the block says."""

    TEXT = OF_LINES + "FT 1;02/11/2026;923100001;A;10,00\n;;;B;5,00\n;02/11/2026;923100001;C;1,00\n"

    def test_as_the_block_says(self) -> None:
        found = mapped(self.TEXT, LINES, **SUMS)
        assert sales(found) == {}
        assert found.identities.select("record_no", "external_id").rows() == [
            (3, "FT 1"),
            (4, "FT 1"),
        ]
        assert sales(mapped(self.TEXT, LINES, **SUMS, **JOIN)) == {"FT 1": ("001", 1600)}

    @pytest.mark.parametrize("options", [{}, JOIN])
    def test_another_customers_row_is_a_document_of_its_own(self, options: dict[str, str]) -> None:
        text = (
            OF_LINES
            + "FT 1;02/11/2026;923100001;A;10,00\n;02/11/2026;923100002;B;5,00\n;;;C;1,00\n"
        )
        found = mapped(text, LINES, **SUMS, **options)
        assert sales(found) == {"FT 1": ("001", 1000)}
        assert {row["record_no"] for row in found.problems.iter_rows(named=True)} == {3, 4}

    @pytest.mark.parametrize("options", [{}, JOIN])
    def test_a_whole_row_is_a_document_of_its_own(self, options: dict[str, str]) -> None:
        text = HEADER + "FT 1;02/11/2026;923100001;10,00\n;03/11/2026;923100001;5,00\n"
        assert sales(mapped(text, **options)) == {"FT 1": ("001", 1000)}

    def test_below_a_row_that_names_nothing(self) -> None:
        text = (
            OF_LINES
            + "FT 1;02/11/2026;923100001;A;1,00\n4,5E+12;02/11/2026;923100002;A;2,00\n;;;B;5,00\n"
        )
        found = mapped(text, LINES, **SUMS, **JOIN)
        assert sales(found) == {"FT 1": ("001", 100)}
        assert {row["record_no"] for row in found.problems.iter_rows(named=True)} == {3, 4}

    def test_the_series_alone_is_no_id(self) -> None:
        mapping = {**LINES, "external_id": "Serie + Factura", "invoice_number": "Factura"}
        text = "Serie;" + OF_LINES + "A;17;02/11/2026;923100001;A;10,00\nA;;;;B;5,00\nB;;;;C;1,00\n"
        found = mapped(text, mapping, **SUMS, **JOIN)
        assert sales(found) == {"A/17": ("001", 1500)}
        assert reasons(found)[0] == "missing"


class TestIdentities:
    """A bad row is known by what it says, wherever it stands."""

    def keys(self, text: str) -> list[str]:
        return mapped(text, LINES, **SUMS).identities["row_key"].to_list()

    def test_rows_that_move(self) -> None:
        bad = ";02/11/2026;923100001;A;10,00\n"
        (key,) = self.keys(OF_LINES + bad)
        more = "FT 1;02/11/2026;923100009;A;10,00\n"
        assert self.keys(OF_LINES + more + bad) == [key]
        assert self.keys("Título\n\n" + OF_LINES + bad + more) == [key]
        assert self.keys(OF_LINES + bad + bad) == [key, f"{key} #2"]
        assert self.keys(OF_LINES + bad.replace("10,00", "10,01")) != [key]

    def test_lines_of_json(self) -> None:
        (key,) = mapped('{"id": "1"}\nno json\n', {}).identities["row_key"]
        assert mapped('{"id": "1"}\n{"id": "2"}\nno json\n', {}).identities[
            "row_key"
        ].to_list() == [key]


class TestNotations:
    """As accountants and people write."""

    @pytest.mark.parametrize(
        "written", ["5.000,00-", "(5 000,00)", "\u22125.000,00", "(5.000,00 Kz)", "5.000,00 Kz-"]
    )
    def test_minus(self, written: str) -> None:
        text = OF_LINES + f"FT 1;02/11/2026;923100001;A;9.000,00\nFT 1;;;Desconto;{written}\n"
        assert sales(mapped(text, LINES, **SUMS)) == {"FT 1": ("001", 400000)}

    @pytest.mark.parametrize(
        "written",
        [
            "923 456 789 (Maria)", "923 456 789 / 912 345 678", "923 456 789, 912 345 678", "923 456 789 e 912 345 678",
            "Maria 923 456 789", "Tel.: 923 456 789", "923 456 789 - Maria", "923\u00a0456\u00a0789", "923456789\u200b",
        ],
    )  # fmt: skip
    def test_phones(self, written: str) -> None:
        assert sales(mapped(f'{HEADER}FT 1;02/11/2026;"{written}";1,00\n')) == {
            "FT 1": ("789", 100)
        }

    @pytest.mark.parametrize(
        "written", ["923 456 78 (Maria)", "Maria", "NIF 5417123456", "923 456 789 123"]
    )
    def test_what_is_no_phone(self, written: str) -> None:
        assert reasons(mapped(f"{HEADER}FT 1;02/11/2026;{written};1,00\n")) == [
            "is not a phone number that can be dialled"
        ]

    @pytest.mark.parametrize("written", ["45321", "45321,5", "45321.75"])
    @pytest.mark.parametrize("dates", ["year first", "day first", "month first"])
    def test_a_day_that_a_spreadsheet_counted_is_explained(self, written: str, dates: str) -> None:
        (reason,) = reasons(mapped(f"{HEADER}FT 1;{written};923100001;1,00\n", dates=dates))
        assert "number of a day as spreadsheets count them" in reason


class TestIds:
    """One form for all."""

    @pytest.mark.parametrize(
        ("written", "normal"),
        [
            ("1001.0", "1001"), ("1001,00", "1001"), ("0017", "0017"), ("0017.0", "0017"), ("1.001", "1.001"),
            ("1,001", "1,001"), ("FT\u00a01", "FT 1"), ("FT   1", "FT 1"), ("FT 1\u200b", "FT 1"), ("\ufeffFT 1", "FT 1"),
            ("FT\u202f1", "FT 1"), ("N\u006f\u0303 1", "N\u00f5 1"), ("2E-17", "2E-17"), ("3E7", "3E7"), ("12ab", "12ab"),
            ("FT A/1.0", "FT A/1.0"), ("1.10", "1.10"),
        ],
    )  # fmt: skip
    def test_normal(self, written: str, normal: str) -> None:
        assert list(sales(mapped(f'{HEADER}"{written}";02/11/2026;923100001;1,00\n'))) == [normal]

    @pytest.mark.parametrize(
        "written", ["4,50361E+12", "4.5e+12", "1E+15", "1e12", "4.50361E12", "1.001E+12"]
    )
    def test_exponents(self, written: str) -> None:
        found = mapped(f"{HEADER}{written};02/11/2026;923100001;1,00\n")
        assert (sales(found), len(reasons(found))) == ({}, 1)
        assert "exponent notation" in reasons(found)[0]

    def test_in_json(self) -> None:
        sale = {"customer_phone": "923100001", "total": 5, "issued_at": "2026-11-02"}
        lines = [{"id": 1001.0, **sale}, {"id": "1002 ", **sale}, {"id": 4.5e22, **sale}]
        found = mapped("\n".join(map(json.dumps, lines)), {})
        assert list(sales(found)) == ["1001", "1002"]
        assert "exponent notation" in reasons(found)[0]
        joined = mapped(
            json.dumps([{"serie": "A", "id": 1.0, **sale}, {"id": 2, **sale}]),
            {"external_id": "serie + id"},
        )
        assert list(sales(joined)) == ["A/1"]
        assert reasons(joined) == ["missing"]


def test_parquet_of_every_kind(tmp_path: Path) -> None:
    """Text as bytes or categories, numbers as floats or decimals, instants and days."""
    frame = pl.DataFrame(
        {
            "FACTURA": pl.Series([1001.0, 1002.0, 2.0**60]),
            "Telefone": pl.Series([b"923100001", b"923100002", b"923100003"]),
            "Data": pl.Series(["2026-11-02"] * 3).str.to_date(),
            "Total": pl.Series(
                [Decimal("10.10"), Decimal("0.30"), Decimal("1.00")], dtype=pl.Decimal(10, 2)
            ),
            "Estado": pl.Series(["paid", "void", "paid"], dtype=pl.Categorical),
        }
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    found = mapped(buffer.getvalue(), {**WHOLE, "status": "Estado"}, dates="year first")
    assert sales(found) == {"1001": ("001", 1010), "1002": ("002", 30)}
    assert "exponent notation" in reasons(found)[0]
