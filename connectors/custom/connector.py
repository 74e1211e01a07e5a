"""Custom systems: any REST API, described in a block by an operator.

The defaults are our own contract (docs/custom-systems.md).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import httpx
from pydantic import ConfigDict

from connectors.kit.described.api import USUAL_PARAM, Paging, first_request, paginate, with_param
from connectors.kit.described.documents import documents, settings_of
from connectors.kit.described.settings import CustomSettings
from connectors.kit.errors import CredentialsRejected, Misconfigured, UnexpectedShape
from connectors.kit.http.auth import client_credentials, sign_basic
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Lookup,
    PageRequest,
    RateLimit,
    RequestAuth,
    Stream,
    TokenAuth,
    Window,
    batches,
)
from connectors.kit.spec.fields import phone, text

NAME: Final = "custom"
#: Records to ask for per page, unless the block says otherwise.
_PAGE_SIZE: Final = 100
_IDS_PER_REQUEST: Final = 50
#: Hosts that may be reached without encryption: nothing leaves the machine.
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class CustomOptions(CustomSettings):
    """The settings as a value; a setting that does not exist is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def spec_from(account: Account) -> ConnectorSpec:
    """The description of the API that the account's options give.

    Raises:
        Misconfigured: Naming the field of the block.
    """
    options = settings_of(CustomOptions, account)
    for field, url in (("API base URL", account.base_url), ("Token URL", account.token_url)):
        _check_encrypted(account, field, url)
    return ConnectorSpec(
        name=NAME,
        title=f"{account.account} (custom)" if account.account != NAME else "Custom system",
        docs_url="docs/custom-systems.md",
        base_url="",
        token_url="",
        auth=lambda _: _auth(account, options),
        headers=lambda _: options.headers,
        streams=(_stream(account, options),),
        lookups=_lookups(options),
        rate=RateLimit(
            ((options.requests_per_minute, 60.0),), concurrency=options.requests_at_once
        ),
        page_size=max(_PAGE_SIZE, account.page_size or 0),
        fault=_fault(options),
        no_list=RecordsElsewhere,
        error_answer=ApiFailed,
    )


def _check_encrypted(account: Account, field: str, url: str) -> None:
    """Refuses an address that is not encrypted, unless it is on this machine.

    Raises:
        Misconfigured: Naming the field of the block.
    """
    try:
        parsed_url = httpx.URL(url.strip())
    except httpx.InvalidURL:
        raise Misconfigured(
            account.system, "settings", f'field "{field}": it is not a URL'
        ) from None
    if parsed_url.scheme == "http" and parsed_url.host not in _LOOPBACK:
        detail = (
            f'field "{field}": it must start with https://, because credentials and personal data '
            "go over it"
        )
        raise Misconfigured(account.system, "settings", detail)


def _stream(account: Account, options: CustomOptions) -> Stream:
    documented = documents(options, account, "invoices")
    param = options.page_param or USUAL_PARAM.get(options.paging, "")
    paths = {
        "next": options.next_path,
        "more": options.more_path,
        "pages": options.pages_path,
        "total": options.total_path,
    }
    if options.paging == "link header":
        del paths["next"]

    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        size = account.page_size or _PAGE_SIZE
        request = _template_request(options, size)
        if options.paging in ("page number", "offset"):
            request = with_param(request, param, _paging(options, param, size).first)
        return first_request(
            request, window, options.since_param, options.since_format, account.timezone
        )

    return Stream(
        "invoices",
        "invoice",
        first,
        paginate(_paging(options, param, account.page_size or _PAGE_SIZE), account, NAME),
        records=options.records,
        info={name: path for name, path in paths.items() if path and options.records},
        single=("/data", "/invoice"),
        missing_is_empty="whatever is missing" if options.empty_without_records else False,
        fields=documented.fields,
        helpers=documented.helpers,
        lines=documented.lines,
        gone=documented.gone,
        finish=documented.finish,
        by_id=_by_id(options),
        # A list moves while it is read, unless it is one answer or each page begins behind a
        # record.
        shrinks=options.paging not in ("none", "cursor", "last id"),
        deletions=("invoices",)
        if options.deleted_path or "void" in options.statuses.values()
        else (),
        incomplete=options.list_holds == "less than the document",
        total_advice=(
            'check "Paging" and its fields, or empty "Number of records" if that number is not the '
            "number of records"
        ),
    )


def _by_id(options: CustomOptions) -> ById:
    template = options.document_path or options.path.rstrip("/") + "/{id}"

    def requests(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for vendor_id in ids:
            yield PageRequest("GET", template.replace("{id}", quote(vendor_id, safe="")))

    return ById(requests, (options.document_record,) if options.document_record else ("/data", ""))


def _template_request(options: CustomOptions, size: int) -> PageRequest:
    if options.method == "POST":
        headers = {"content-type": "application/json"}
        request = PageRequest(
            "POST",
            options.path,
            dict(options.params),
            json.dumps(options.body, ensure_ascii=False),
            headers,
        )
    else:
        request = PageRequest("GET", options.path, dict(options.params))
    return with_param(request, options.size_param, size) if options.size_param else request


def _paging(options: CustomOptions, param: str, size: int) -> Paging:
    first = options.first_page if options.paging == "page number" else 0
    return Paging(
        options.paging, param, first, size, options.short_page_is_last, options.size_param
    )


def _lookups(options: CustomOptions) -> tuple[Lookup, ...]:
    if not options.customer_path:
        return ()
    fields = {
        "external_id": text(options.customer_id_path),
        "phone": phone(options.customer_phone_path),
    }
    if options.customer_ids_param:
        return (Lookup("customers", _batched(options), options.customer_records, fields),)
    return (
        Lookup(
            "customers",
            lambda _account, _ids: (),
            "/data",
            fields,
            fallback=lambda _, key: PageRequest(
                "GET", options.customer_path.replace("{id}", quote(key, safe=""))
            ),
            fallback_record=options.customer_records,
        ),
    )


def _batched(options: CustomOptions) -> Callable[[Account, Sequence[str]], Iterable[PageRequest]]:
    def requests(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for batch in batches(ids, _IDS_PER_REQUEST):
            yield PageRequest(
                "GET", options.customer_path, {options.customer_ids_param: ",".join(batch)}
            )

    return requests


class RecordsElsewhere(UnexpectedShape):
    """The API answers, but the list is not where the block says."""

    advice = (
        'Say in the block "{block}" where an answer holds the list ("Records"), and check the base '
        'URL and "Path of the invoices"; if the API leaves the list out when it is empty, switch '
        'on "No list means no records".'
    )


class ApiFailed(UnexpectedShape):
    """The API answers that it failed."""

    advice = (
        'Whoever runs the API must say why, unless the credentials, the base URL, "Path of the '
        'invoices" or the query parameters in the block "{block}" are wrong.'
    )


class KeyRejected(CredentialsRejected):
    """The API refuses what the account proves itself with."""

    advice = (
        'Check in the block "{block}" that "Authentication" is the kind the API expects, and what '
        "goes with it: the API key, user name and password, or client ID, client secret and token "
        "URL."
    )


def _auth(account: Account, options: CustomOptions) -> TokenAuth | RequestAuth:
    """How the account proves itself.

    Raises:
        Misconfigured: If the credential it needs is not in the block.
    """
    needed = {
        "bearer": ("API key", account.secret("api_key")),
        "api key": ("API key", account.secret("api_key")),
        "api key in the query": ("API key", account.secret("api_key")),
        "basic": ("User name", options.username),
        "client credentials": ("Client ID", account.client_id),
    }
    title, value = needed.get(options.authentication, ("", "-"))
    if not value:
        detail = (
            f'field "{title}": it is empty, and authentication "{options.authentication}" needs it'
        )
        raise Misconfigured(account.system, "settings", detail)
    if options.authentication == "client credentials":
        if not account.token_url:
            detail = (
                'field "Token URL": it is empty, and authentication "client credentials" needs it'
            )
            raise Misconfigured(account.system, "settings", detail)
        return TokenAuth(
            client_credentials(scope=options.scope, basic=options.client_in != "form"),
            seeded=False,
            refused=KeyRejected,
        )
    return RequestAuth(
        lambda account, request, _: _sign(account, options, request), refused=KeyRejected
    )


def _sign(account: Account, options: CustomOptions, request: httpx.Request) -> None:
    key = account.secret("api_key").strip()
    if options.authentication == "bearer":
        request.headers["authorization"] = f"Bearer {key.removeprefix('Bearer ').strip()}"
    elif options.authentication == "api key":
        request.headers[options.api_key_header] = key
    elif options.authentication == "api key in the query":
        # The key is put in here and not into the page's request, which is stored. Messages and logs
        # show no query.
        request.url = request.url.copy_merge_params({options.api_key_param: key})
    elif options.authentication == "basic":
        sign_basic(request, options.username, account.secret("password"))


def _fault(options: CustomOptions) -> Callable[[Any], str | None]:
    """The error code of an answer that reports a failure instead of records.

    Known forms: problem+json (RFC 9457), `error`, `errors` (also as GraphQL writes them), and
    `success` or `ok` that is false.
    """
    parts = segments(options.records)

    def fault(body: Any) -> str | None:
        # An answer with records is no failure. An empty list beside "it failed" does not mean that
        # there are no sales.
        if parts and dig(body, parts):
            return None
        if "title" in body and isinstance(body.get("status"), int):
            kind = str(body.get("type") or "").rstrip("/").rpartition("/")[2]
            return kind if kind and kind != "about:blank" else str(body["status"])
        error = body.get("error") or next(iter(body.get("errors") or ()), None)
        if isinstance(error, Mapping):
            more = error.get("extensions")  # GraphQL
            inner = more.get("code") if isinstance(more, Mapping) else None
            return str(inner or error.get("code") or error.get("type") or "unknown")
        if error:
            return str(error)
        failed = body.get("success") is False or body.get("ok") is False
        return str(body.get("code") or body.get("error_code") or "unknown") if failed else None

    return fault
