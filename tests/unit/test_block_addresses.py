"""An address with a user or a password in it is refused in every field of every block."""

import traceback
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from connectors import spec_for
from connectors.kit.described.documents import problems
from connectors.kit.errors import Misconfigured
from connectors.kit.http.urls import base_url, refuse_credentials
from connectors.kit.spec import Account
from panel.blocks import BLOCKS, BillingConnection
from settings import Settings

SECRET = "s3cr3t-w0rd"
WITH_PASSWORD = f"https://user:{SECRET}@vendor.example/api"
REQUIRED: dict[str, dict[str, Any]] = {
    "quickbooks": {"client_id": "c", "client_secret": "s"},
    "xero": {"client_id": "c", "client_secret": "s"},
    "freshbooks": {"client_id": "c", "client_secret": "s"},
    "sage_intacct": {"client_id": "c", "client_secret": "s"},
    "zoho_books": {"client_id": "c", "client_secret": "s"},
    "sap_s4hana": {"host": "my300000-api.s4hana.cloud.sap"},
    "business_central": {"company_id": "7dbba574-5f69-4167-a43e-fb975045de15"},
    "netsuite": {"account_id": "1234567"},
    "shopify": {"shop": "agua-twezah"},
    "stripe": {"account_id": "acct_1", "api_key": "k"},
    "magento": {"host": "shop.example.com"},
    "oracle_fusion": {"host": "abcd.fa.em2.oraclecloud.com"},
    "woocommerce": {
        "shop_url": "https://vendor.example",
        "consumer_key": "c",
        "consumer_secret": "s",
    },
    "wave": {"client_id": "c", "client_secret": "s"},
    "square": {"client_id": "c", "client_secret": "s"},
    "paypal": {"merchant_id": "M1", "client_id": "c", "client_secret": "s"},
    "custom": {"base_url": "https://vendor.example"},
    "file": {"folder": "/exports"},
    "push": {},
}
TEXTS = [
    (kind, name)
    for kind in BLOCKS.values()
    for name, field in kind.model_fields.items()
    if field.annotation is not SecretStr
]
ADDRESSES = [(kind, name) for kind, name in TEXTS if name.endswith(("_url", "_uri"))]


def refused(kind: type[BillingConnection], name: str, value: Any) -> str:
    """What the block says about this value."""
    with pytest.raises(ValidationError) as error:
        kind(**{**REQUIRED[kind.system], name: value})
    return f"{error.value} {problems(kind, error.value)} {traceback.format_exception(error.value)}"


def test_the_blocks_have_the_fields_that_are_tried() -> None:
    """A new block needs values here, and a new field is tried by itself."""
    assert set(REQUIRED) == set(BLOCKS)
    for system, kind in BLOCKS.items():
        kind(**REQUIRED[system])
    names = {(kind.system, name) for kind, name in ADDRESSES}
    assert {("custom", "base_url"), ("custom", "token_url"), ("xero", "authorize_url")} <= names
    assert {("netsuite", "token_url"), ("sage_intacct", "redirect_uri")} <= names


@pytest.mark.parametrize(("kind", "name"), TEXTS, ids=lambda part: getattr(part, "system", part))
def test_no_field_takes_a_password_in_an_address(kind: type[BillingConnection], name: str) -> None:
    """Whatever the field is for; and nobody reads the password in what is said about it."""
    said = refused(kind, name, WITH_PASSWORD)
    assert SECRET not in said
    assert "there is a user or a password in the address" in said


@pytest.mark.parametrize(
    "address",
    [
        f"http://{SECRET}@vendor.example",
        f"https://user:{SECRET}@vendor.example",
        f"  HTTPS://user:{SECRET}@[::1]:8080/x?y=1",
        f"https:\\\\user:{SECRET}@vendor.example",
        f"//user:{SECRET}@vendor.example",
        f"user:{SECRET}@vendor.example/path",
        f"postgresql://user:{SECRET}@vendor.example/x",
    ],
)
@pytest.mark.parametrize(
    ("kind", "name"), ADDRESSES, ids=lambda part: getattr(part, "system", part)
)
def test_however_it_is_written(kind: type[BillingConnection], name: str, address: str) -> None:
    """A user alone may be a token; another way of writing is no way round."""
    assert SECRET not in refused(kind, name, address)


def test_inside_other_fields_as_well() -> None:
    """A mapping is a dictionary; its texts are looked at."""
    said = refused(BLOCKS["custom"], "field_mapping", {"customer_phone": WITH_PASSWORD})
    assert SECRET not in said and "Field mapping" in said


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://vendor.example/api/v1",
        "http://127.0.0.1:8765/xero",
        "https://vendor.example/@shop/orders?mail=a@b.example",
        "https://vendor.example/#a@b",
    ],
)
def test_other_addresses_are_as_good_as_before(address: str) -> None:
    assert refuse_credentials(address, is_address=True) == address


def test_a_connection_that_no_block_made_is_refused_too() -> None:
    vendor = Account(system="custom", account="x", base_url=WITH_PASSWORD)
    with pytest.raises(Misconfigured, match="a user or a password") as error:
        base_url(vendor, spec_for(vendor))
    assert SECRET not in str(error.value)


def test_settings_that_are_printed() -> None:
    """They are in what `twezah up` prints and keeps."""
    for name in ("prefect_api_url", "api_public_url", "prefect_public_url"):
        with pytest.raises(ValidationError) as error:
            Settings(**{name: f"https://user:{SECRET}@prefect.example"})
        assert SECRET not in str(error.value)
