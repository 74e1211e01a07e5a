"""File drop: a folder in which systems without an API leave their exports."""

import codecs
import os
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from connectors.kit.described.api import Paging, paginate
from connectors.kit.described.documents import (
    Documents,
    DocumentSettings,
    Pointer,
    documents,
    settings_of,
)
from connectors.kit.errors import Misconfigured
from connectors.kit.files.folder import Folder
from connectors.kit.files.row_groups import Layout, RowsWithoutId
from connectors.kit.files.tables import Table
from connectors.kit.mapping.reader import has_marks, marked
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    PageRequest,
    RateLimit,
    RequestAuth,
    Stream,
    Window,
)

NAME: Final = "file"
#: The base URL of requests that the folder answers; no network is used.
_ADDRESS: Final = "http://folder"
_MEGABYTE: Final = 2**20
#: The delimiters that an operator may choose; "": it is found out.
_DELIMITERS: Final = {"automatic": "", "comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}


def _encoding(value: str) -> str:
    try:
        "".encode(value).decode(value)
        return codecs.lookup(value).name
    except (LookupError, ValueError):
        raise ValueError("no such encoding; usual are utf-8 and windows-1252") from None


class FileSettings(DocumentSettings):
    """What an operator says about the files."""

    encoding: Annotated[str, AfterValidator(_encoding)] = Field(
        default="utf-8",
        title="Encoding",
        description="Of text files: utf-8, or windows-1252 for old exports.",
    )
    delimiter: Literal["automatic", "comma", "semicolon", "tab", "bar"] = Field(
        default="automatic",
        title="Delimiter",
        description=(
            "Of CSV files. automatic: the one that parts the header into the mapped columns."
        ),
    )
    records: Pointer = Field(
        default="",
        title="Records",
        description=(
            "Where a JSON file holds the list. Empty: it is the list, one document, or has it in "
            "/data."
        ),
    )
    rows_without_id: RowsWithoutId = Field(
        default="refuse the document",
        title="Rows without an id",
        description=(
            "Of tables: a row without an id below a document. refuse the document: both are "
            "rejected, so that no sale counts in part. part of the document above: it is one more "
            "line of it, as exports that say the number only once mean it."
        ),
    )
    settle_seconds: int = Field(
        default=10,
        ge=0,
        le=3600,
        title="Settle (s)",
        description=(
            "A file that changed less than this ago may be half-written; it is left to the next "
            "run."
        ),
    )
    megabytes_max: int = Field(
        default=50,
        ge=1,
        le=500,
        title="Largest file (MB)",
        description="Larger ones are reported, not read.",
    )


class FolderPath(BaseModel):
    """Where the files are."""

    folder: str = Field(
        pattern="^/",
        title="Folder",
        description=(
            "On the machine of the worker, e.g. /srv/exports. Only files in the folder itself are "
            "read; nothing in it is changed."
        ),
    )


class FileOptions(FileSettings, FolderPath):
    """The settings as a value; a setting that does not exist is refused.

    The folder may be empty, for samples: they are mapped without one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    folder: str = ""


def spec_from(account: Account) -> ConnectorSpec:
    """The description of the folder that the account's options name.

    Raises:
        Misconfigured: Naming the field of the block.
    """
    options = settings_of(FileOptions, account)
    documented = documents(options, account, "files")
    table = Table(
        encoding=options.encoding,
        delimiter=_DELIMITERS[options.delimiter],
        records=options.records,
        layout=_layout(options, documented, account),
        fraction=marked if has_marks(documented.fields.values()) else str,
    )
    stream = Stream(
        "files",
        "invoice",
        partial(_first, settle=timedelta(seconds=options.settle_seconds)),
        paginate(
            Paging("link header", "", 0, 0, short_page_is_last=False),
            Account(NAME, "", _ADDRESS),
            NAME,
        ),
        records="",
        fields=documented.fields,
        helpers=documented.helpers,
        lines=replace(documented.lines, adjust=_sold),
        gone=documented.gone,
        finish=documented.finish,
        windowed=False,
        reads=table.read,
        places=table.places,
    )
    return ConnectorSpec(
        name=NAME,
        title=f"{account.account} (files)" if account.account != NAME else "File drop",
        docs_url="docs/custom-systems.md",
        base_url=_ADDRESS,
        token_url="",
        auth=lambda _: RequestAuth(lambda _account, _request, _now: None),
        streams=(stream,),
        lookups=(),
        rate=RateLimit((), concurrency=1),
        page_size=1,
        body_bytes_limit=options.megabytes_max * _MEGABYTE + 1,
        transport=lambda account: _folder(account, options, table),
    )


def _layout(options: FileOptions, documented: Documents, account: Account) -> Layout:
    fields = documented.fields
    words = {name: fields[name].words or {} for name in ("kind", "status")}
    return Layout(
        key=fields["external_id"].paths,
        joined=fields["external_id"].joined,
        facts={name: field.paths for name, field in fields.items() if name != "external_id"},
        lines={name: field.paths for name, field in documented.lines.fields.items()},
        total=fields["total_minor"].paths if options.totals == "as written" else (),
        words=words,
        put_at=documented.lines.path,
        also=documented.lines.also,
        without_id=options.rows_without_id,
        region=account.region,
    )


def _folder(account: Account, options: FileOptions, table: Table) -> Folder:
    path = Path(options.folder)
    if not options.folder or not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        detail = (
            'field "Folder" (folder): there is no such folder on the worker\'s machine, or it may '
            "not be read"
        )
        raise Misconfigured(account.system, "settings", detail)
    return Folder(path, bytes_limit=options.megabytes_max * _MEGABYTE, check=table.problem)


def _sold(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines without rows that name no product and no amount: those hold only the document."""
    return lines.filter(
        pl.any_horizontal(pl.col("sku", "name", "item_external_id", "amount_minor").is_not_null())
    )


def _first(_account: Account, window: Window, now: datetime, *, settle: timedelta) -> PageRequest:
    before = min(now - settle, window.until or now)
    # The last run left out files that had changed less than `settle` before it.
    since = {"since": (window.since - settle).isoformat()} if window.since else {}
    return PageRequest("GET", "/", {**since, "before": before.isoformat()})
