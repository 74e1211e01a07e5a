"""Every system is whole, and a seventh is told what it lacks: docs/adding-a-system.md, held to be true."""

from dataclasses import replace

import pytest
from pydantic import SecretStr, ValidationError

from connectors import SYSTEMS
from connectors.kit.errors import CredentialsRejected, block_name
from connectors.kit.http.client import open_client
from connectors.kit.mapping import map_pages
from connectors.kit.read.pages import extract
from connectors.kit.spec import Account, RateLimit, Window
from panel.blocks import BLOCKS
from settings import PROJECT_ROOT
from tests.support import seventh
from tests.support.completeness import first_tier, gaps, main
from tests.support.systems import SIMULATED


class NoTokens:
    """Requests carry their own proof: there is nothing to keep."""

    def read(self) -> None:
        return None

    def refresh(self, stale: object, renew: object) -> None:  # noqa: ARG002  the protocol's
        raise AssertionError("there is no token to renew")


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_a_system_is_complete(system: str) -> None:
    """One without a simulator is of the first tier: its sales can be read."""
    missing = gaps if system in SIMULATED else first_tier
    assert missing(SYSTEMS[system]) == []


def test_one_declarative_file_reads_and_maps() -> None:
    """The file alone, with nothing registered, gives sales."""
    connection = Account("garrafa", "loja-1", secrets={"api_key": SecretStr("k3y")})
    with open_client(connection, seventh.SPEC, NoTokens(), transport=seventh.api(120)) as client:
        pages = list(extract(seventh.SPEC, seventh.SPEC.streams[0], client, Window()))
    assert [page.record_count for page in pages] == [
        50,
        49,
        24,
    ]  # each begins with one that was read before
    mapped = map_pages(
        seventh.SPEC,
        seventh.SPEC.streams[0],
        connection,
        [(n, page.body) for n, page in enumerate(pages)],
    )
    assert mapped.problems.is_empty()
    once = mapped.invoices.unique("external_id", keep="first", maintain_order=True)
    assert once["total_minor"].to_list() == [number * 100 + 50 for number in range(1, 121)]
    assert mapped.invoices.select("status", "kind", "customer_phone").unique().rows() == [
        ("paid", "sale", "+244923456789")
    ]
    assert mapped.lines["sku"].unique().to_list() == ["AGUA-5L"]


def test_its_refusals_are_named() -> None:
    connection = Account("garrafa", "loja-1", secrets={"api_key": SecretStr("wrong")})
    with (
        open_client(connection, seventh.SPEC, NoTokens(), transport=seventh.api(1)) as client,
        pytest.raises(CredentialsRejected, match=r'bad_key.*block "garrafa"'),
    ):
        list(extract(seventh.SPEC, seventh.SPEC.streams[0], client, Window()))


def test_what_it_lacks_is_said_in_words() -> None:
    """The file is whole; what is to be done around it is listed, in the guide's order."""
    assert gaps(seventh.SPEC) == [
        "connectors/garrafa/connector.py: there is no SPEC",
        "connectors/garrafa/form.py: there is no FORM: what does an operator fill in?",
        "prefect.yaml: there is no deployment sync-garrafa: python -m scripts.systems",
        "simulator/systems/garrafa/system.py: there is no SYSTEM: account, tokens, limits, numbers",
        "simulator/systems/garrafa/api.py: there is no API: how does the vendor answer?",
        "connectors/garrafa/form.py: `--simulator` does not connect it (simulated)",
        "tests/support/hostile.py: ERRORS_IN_200 has no error body of garrafa",
        "tests/unit/test_mapping_records.py: RECORDS has no record of garrafa as the vendor sends it (or tests/contract/test_garrafa.py)",
        "README.md: it does not say of Garrafa POS how it is connected",
        "docs/points.md: it does not say of Garrafa POS what is given back, and how that counts",
        "CHANGELOG.md: it does not say of Garrafa POS that it is there",
    ]


def test_a_file_that_is_not_whole_is_told_field_by_field() -> None:
    (stream,) = seventh.SPEC.streams
    assert stream.lines is not None
    fields = {
        name: field
        for name, field in stream.fields.items()
        if name not in ("tax_minor", "customer_phone")
    }
    lines = replace(
        stream.lines,
        fields={name: field for name, field in stream.lines.fields.items() if name != "sku"},
    )
    poor = replace(
        seventh.SPEC,
        streams=(replace(stream, fields=fields, lines=lines),),
        docs_url="",
        rate=RateLimit((), 1),
    )
    said = [
        gap.removeprefix("connectors/garrafa/connector.py: ")
        for gap in gaps(poor)
        if gap.startswith("connectors/garrafa/connector.py") and "no SPEC" not in gap
    ]
    assert said == [
        "docs_url is not the https address of the vendor's documentation",
        "rate has no window: how many requests does the vendor take in how many seconds?",
        "stream 'receipts': field 'customer_phone' has no source (computed(pl.lit(None), required=False) where the vendor has none)",
        "stream 'receipts': field 'tax_minor' has no source (computed(pl.lit(None), required=False) where the vendor has none)",
        "stream 'receipts': field 'sku' of the lines has no source",
        "nobody's phone is read: give customer_phone a path, or add the lookup 'customers'",
    ]


def test_an_operator_is_told_where_to_register_before_sales_can_be_read() -> None:
    xero = SYSTEMS["xero"]
    assert xero.consent is not None
    nowhere = replace(xero, consent=replace(xero.consent, register_url=""))
    asked = "consent has no register_url: where does an operator register an application?"
    assert [gap for gap in first_tier(nowhere) if asked in gap] == [
        f"connectors/xero/connector.py: {asked}"
    ]
    assert not [gap for gap in first_tier(xero) if asked in gap]


def test_the_command_of_the_guide(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("xero") == 0
    assert capsys.readouterr().out == "Xero is complete.\n"
    assert main("garrafa") == 1
    assert "there is no SPEC" in capsys.readouterr().out


def test_the_guide_names_every_place() -> None:
    """What is asked for is what the guide tells."""
    guide = (PROJECT_ROOT / "docs" / "adding-a-system.md").read_text(encoding="utf-8")
    places = {gap.split(": ")[0] for gap in gaps(seventh.SPEC)}
    assert {place for place in places if place.rsplit("/", 1)[-1] not in guide} == set()


@pytest.mark.parametrize("system", sorted(BLOCKS))
def test_a_form_begins_with_what_is_needed(system: str) -> None:
    """The names of the form's order exist, what must be filled in stands on top, and the help names the system as operators do."""
    block = BLOCKS[system]
    assert set(block.form_begins) | set(block.form_lacks) <= set(block.model_fields)
    form = block.model_json_schema()
    fields = sorted(form["properties"], key=lambda name: int(form["properties"][name]["position"]))
    assert set(fields) == set(block.model_fields) - set(block.form_lacks)
    assert fields[: len(block.form_begins)] == list(block.form_begins)
    assert {*form.get("required", [])} <= set(fields[:7])
    assert (
        f"twezah mapping try {block_name(system)} FILE"
        in form["properties"]["field_mapping"]["description"]
    )
    secrets = [name for name, field in block.model_fields.items() if field.annotation is SecretStr]
    assert {form["properties"][name].get("format") for name in secrets} <= {"password"}


def test_a_custom_system_needs_an_address() -> None:
    with pytest.raises(ValidationError, match="base_url"):
        BLOCKS["custom"]()
