"""The blocks as an operator meets them: forms that explain themselves, settings that are looked at before use, and their guide."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.kit.errors import Misconfigured, block_name
from panel.blocks import (
    BLOCKS,
    BillingConnection,
    CustomConnection,
    NetSuiteConnection,
    XeroConnection,
)
from panel.blocks.guide import renewed
from panel.blocks.settings_check import check_settings
from panel.reports.reject_advice import fix
from settings import PROJECT_ROOT
from tests.unit.test_block_addresses import REQUIRED

GUIDE = PROJECT_ROOT / "docs" / "configuration.md"
#: Words of a field's name that say it is not for everybody's eyes.
SECRET_WORDS = ("secret", "token", "password", "api_key", "private_key", "consumer_key")
PLAIN = ("token_url", "api_key_header", "api_key_param")


def test_the_guide_has_the_fields_of_the_forms() -> None:
    """After a change of a field: python -m panel.blocks.guide docs/configuration.md."""
    text = GUIDE.read_text(encoding="utf-8")
    assert text == renewed(text)
    assert "`reject_percent_max` | `25`" in text and "| **needed**, secret |" in text


@pytest.mark.parametrize("kind", BLOCKS.values(), ids=list(BLOCKS))
class TestForm:
    def test_every_field_has_a_title_and_says_what_it_is(
        self, kind: type[BillingConnection]
    ) -> None:
        for name, field in kind.model_json_schema()["properties"].items():
            if name in kind.model_fields:
                assert field.get("title") and field.get("description"), name

    def test_its_card_says_how_often_and_what_to_run(self, kind: type[BillingConnection]) -> None:
        said = str(kind.get_description())
        if kind.made_from.pushed_only:
            assert "no schedule" in said
            return
        assert (
            f"schedule of the deployment `sync-{block_name(kind.system)}` (1, 5, 15, 60 minutes)"
            in said
        )
        assert "*test-connection*" in said

    def test_secrets_are_masked_everywhere(self, kind: type[BillingConnection]) -> None:
        secret = {
            name for name, field in kind.model_fields.items() if field.annotation is SecretStr
        }
        named = {
            name for name in kind.model_fields if any(word in name for word in SECRET_WORDS)
        } - set(PLAIN)
        assert named <= secret
        needed: dict[str, Any] = (
            kind.sample_values() if hasattr(kind, "sample_values") else REQUIRED[kind.system]
        )
        block = kind(**needed | dict.fromkeys(secret, "s3cr3t-value"))
        shown = [repr(block), str(block), block.model_dump_json(), json.dumps(block.model_dump(mode="json")), repr(block.connection())]  # fmt: skip
        assert not [text for text in shown if "s3cr3t-value" in text]
        assert (
            set(kind.model_json_schema()["secret_fields"]) == secret
        )  # what Prefect encrypts and masks


def xero(**changes: Any) -> XeroConnection:
    values = {"client_id": "i", "client_secret": "s", "refresh_token": "r", "tenant_id": "b0a5c0de-0000-4000-8000-000000000001"}  # fmt: skip
    return XeroConnection(**values | changes)


def test_good_settings_are_good() -> None:
    assert check_settings(xero(field_mapping={"invoice_number": "/Reference"})).title == "Xero"
    with pytest.raises(Misconfigured, match="fill in client id"):  # as the run would say
        check_settings(NetSuiteConnection(account_id="1"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timezone": "Luanda"}, 'field "Time zone" (timezone): there is no time zone "Luanda"'),
        ({"timezone": "../../etc/passwd"}, "Time zone"),
        ({"timezone": ""}, "Time zone"),
        ({"base_url": "api.xero.com"}, "the base URL is not an http(s) URL"),
        ({"field_mapping": {"totl": "/Total"}}, 'there is no field "totl"'),
        (
            {"field_mapping": {"total_minor": "Total"}},
            'the path of "total_minor" must start with a slash',
        ),
    ],
)
def test_a_setting_that_cannot_work_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        check_settings(xero(**changes))
    assert said in str(refused.value)


def test_a_custom_system_over_plain_http_is_refused_by_name() -> None:
    with pytest.raises(Misconfigured, match="https"):
        check_settings(CustomConnection(base_url="http://erp.example.com"))


@pytest.mark.parametrize(
    ("reason", "to_do"),
    [
        (
            "Customer phone: the customer has no phone number that can be dialled",
            "Enter a phone at the customer",
        ),
        ("Customer phone: customer_phone is an E.164 number", "Phone region"),
        ("Customer phone, looked for at /tel: missing", "Where it is kept in another field"),
        ("Currency: missing", "Default currency"),
        ("Total, looked for at /TotalAmt: missing", "Correct *Field mapping* in the block"),
        (
            "Total, looked for at /TotalAmt: is not a number",
            "how it says that amounts and dates are written",
        ),
        ("Issued: issued_at is between 2000-01-01 and 2 days from now", "Correct the date"),
        (
            "points: there is no exchange rate of EUR in AOA for 2026-01-01; load it (`twezah fx load`)",
            "deployment *fx-rates*",
        ),
        (
            "points: the program (version 1) has no rate for currency EUR or tier lead",
            "deployment *program*",
        ),
        ("Amount refunded: amount_refunded_minor is at most total_minor", "Correct the document"),
    ],
)
def test_every_kind_of_reject_says_what_to_do(reason: str, to_do: str) -> None:
    assert to_do in fix(reason)
