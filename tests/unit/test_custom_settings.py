"""A setting that cannot work is named by its field, and never by its value."""

from typing import Any

import pytest

from connectors import spec_for
from connectors.kit.errors import Misconfigured
from connectors.kit.http.client import open_client
from connectors.kit.read.pagination import next_link
from connectors.kit.spec import Account

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "invoices"}, r'"Path of the invoices" \(path\): it starts with a slash'),
        ({"path": "https://x/invoices"}, r"\(path\)"),
        ({"path": "/invoices?key=hunter2"}, r"\(path\).*has no query"),
        ({"records": "data"}, r'"Records" \(records\): a path starts with a slash'),
        ({"headers": {"Authorization": SECRET}}, r"\(headers\).*fields of their own"),
        ({"headers": {"X-A": "a\r\nX-B: hunter2"}}, r"\(headers\).*one line"),
        ({"api_key_header": "X Key"}, r"\(api_key_header\)"),
        ({"method": "PUT"}, r'"Method" \(method\).*GET'),
        ({"paging": "scroll"}, r"\(paging\).*link header"),
        ({"statuses": {"X": "gone"}}, r"\(statuses\).*draft"),
        ({"document_types": {"X": "bill"}}, r"\(document_types\)"),
        ({"since_param": ""}, r"since_param"),
        ({"next_path": ""}, r"next_path"),
        ({"records": ""}, r"answer is the list itself"),
        ({"requests_at_once": 4, "requests_per_minute": 2}, r"requests_at_once"),
        ({"customer_path": "/customers"}, r"customer_ids_param"),
        ({"customer_path": "/customers/{id}", "customer_ids_param": "ids"}, r"customer_ids_param"),
        ({"recrods": "/data"}, r'"recrods": there is no such field'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured, match=rf"(?s)custom settings: .*{said}.*block") as caught:
        spec_for(Account("custom", "loja", "https://erp.test", options=options))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://erp.test", "http://10.0.0.5/api", "http://localhost.evil.test"]
)
@pytest.mark.parametrize("field", ["base_url", "token_url"])
def test_plain_http_is_refused_except_on_this_machine(field: str, url: str) -> None:
    with pytest.raises(Misconfigured, match="must start with https://"):
        spec_for(Account("custom", "loja", **{field: url}))
    for own in (
        "http://127.0.0.1:8080/api",
        "http://localhost",
        "http://[::1]/x",
        "https://erp.test",
    ):
        spec_for(Account("custom", "loja", **{field: own}))


def test_without_a_base_url_nothing_is_opened() -> None:
    connection = Account("custom", "loja")
    with (
        pytest.raises(Misconfigured, match="base URL"),
        open_client(connection, spec_for(connection), None),
    ):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ('<https://a.test/?p=2>; rel="next"', "https://a.test/?p=2"),
        (
            '<https://a.test/?p=9>; rel="last", <https://a.test/?p=2>; rel="next"',
            "https://a.test/?p=2",
        ),
        ('<?p=2&q=a,b>; title="x, y"; rel=next', "?p=2&q=a,b"),
        ('<?p=2>; REL="prev NEXT"', "?p=2"),
        ('<?p=2>; rel="nextish"', None),
        ('<?p=2>; title="rel=next"', None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_link_headers(header: str, address: str | None) -> None:
    assert next_link(header) == address


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoding": "latin-99"}, r'"Encoding" \(encoding\): no such encoding'),
        ({"encoding": "base64"}, r"no such encoding"),
        ({"megabytes_max": 0}, r"\(megabytes_max\)"),
        ({"path": "/x"}, r'"path": there is no such field'),
    ],
)
def test_settings_of_a_file_drop(options: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        spec_for(Account("file", "caixa", options=options))
