"""Sage Intacct's query service as requests.

They are JSON with fields, filters and an order, paged by the key of the last record.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from connectors.kit.errors import UnexpectedShape
from connectors.kit.mapping.reader import plan_for
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    ListMovedError,
    PageRequest,
    Pages,
    PageView,
    Window,
    batches,
    utc_seconds,
)

_PATH: Final = "/ia/api/v1/services/core/query"
_IDS_PER_QUERY: Final = 250
#: Pointers to the values beside the records of an answer.
META: Final = {"next": "/ia::meta/next", "remaining": "/ia::meta/totalCount"}
#: One entry of a query's filters: {operator: {field: value}}.
Condition = Mapping[str, Mapping[str, Any]]


def both_spellings(*names: str) -> tuple[str, ...]:
    """Pointers to dotted names, in both spellings.

    Answers of the query service keep the dots; objects that are read alone are nested.
    """
    return tuple(
        pointer
        for name in names
        for pointer in dict.fromkeys((f"/{name}", f"/{name.replace('.', '/')}"))
    )


def field_names(
    spec: ConnectorSpec, name: str, account: Account, *more: str, lines: bool = False
) -> list[str]:
    """The dotted names of all fields that a list's documents, or their lines, are read from.

    Those of the usual paths are always among them, besides those of an operator's own paths: where
    an operator's path was wrong, the stored pages are mapped again without a new request.

    Args:
        spec: The system.
        name: The stream.
        account: For the operator's paths.
        more: Names that are added.
        lines: Whether the names are those for lines.
    """
    stream = spec.stream(name)
    plan = plan_for(spec, stream, account)
    headers = (stream.fields, stream.helpers, plan.fields, plan.helpers)
    read = [part.fields for part in (stream.lines, plan.lines) if part] if lines else headers
    paths = (path for fields in read for field in fields.values() for path in field.paths)
    return sorted({*(path.removeprefix("/").replace("/", ".") for path in paths), *more})


def changed_since(window: Window) -> list[Condition]:
    """The condition that a document changed since the window's begin; none without a bound."""
    if window.since is None:
        return []
    return [{"$gte": {"audit.modifiedDateTime": f"{utc_seconds(window.since)}Z"}}]


def query(
    kind: str, fields: Sequence[str], conditions: Sequence[Condition], size: int
) -> PageRequest:
    """The first page of a list in the order of its keys.

    Later pages ask for keys above the last one instead of a higher `start`: with that, rows that
    are deleted meanwhile would move the later ones up, past the reader.
    """
    body = {
        "object": kind,
        "fields": list(fields),
        "filters": [{"$gt": {"key": "0"}}, *conditions],
        "filterExpression": "and",
        "filterParameters": {"includePrivate": True},
        "orderBy": [{"key": "asc"}],
        "start": 1,
        "size": size,
    }
    return PageRequest("POST", _PATH, body=json.dumps(body))


def queries_by_ids(
    kind: str,
    fields: Sequence[str],
    name: str,
    ids: Sequence[str],
    size: int,
    *,
    at_once: int = _IDS_PER_QUERY,
) -> Iterable[PageRequest]:
    """Lists of the records whose field `name` is one of `ids`, some ids at a time."""
    for batch in batches(ids, at_once):
        yield query(kind, fields, [{"$in": {name: batch}}], size)


def by_last_key(first: PageRequest) -> Pages:
    """Each page begins behind the last key of the page before, as long as there are more.

    Raises:
        ListMovedError: The answer says that there are more, and holds none.
        UnexpectedShape: The keys do not come in their order, so that one could be skipped.
    """
    request = first
    while True:
        view = yield request
        body = json.loads(request.body or "{}")
        if not _goes_on(view, int(body["size"])):
            return
        body["filters"][0] = {"$gt": {"key": _last(view.ids)}}
        request = replace(request, body=json.dumps(body), page_no=request.page_no + 1)


def _goes_on(view: PageView, size: int) -> bool:
    """Whether there is another page: `next` names a start, or is null on the last page.

    Old versions leave it out, so there a full page is followed by another.
    """
    goes_on = view.number("next") is not None or (view.number("remaining") or 0) > view.record_count
    if goes_on and view.record_count == 0:
        raise ListMovedError  # it says that there are more
    return view.record_count > 0 and (goes_on or view.record_count >= size)


def _last(ids: Sequence[Any]) -> str:
    keys = [int(key) for key in ids if str(key).isdigit()]
    if len(keys) != len(ids) or keys != sorted(keys):
        raise UnexpectedShape(
            "sage_intacct", "query", "the records of a page do not come in the order of their keys"
        )
    return str(keys[-1])
