"""The form of a folder of exports: the operator describes the files."""

from collections.abc import Mapping
from typing import Any, Final

from connectors.file.connector import FileSettings, FolderPath
from connectors.kit.spec.form import Form


class FileFields(FileSettings, FolderPath):
    """The folder first, then what is said about the files."""


def _values(form: FileFields) -> Mapping[str, Any]:
    names = (*FileSettings.model_fields, "folder")
    return {"base_url": "", "options": {name: getattr(form, name) for name in names}}


FORM: Final = Form(
    block="File Drop Connection",
    summary=(
        "A folder of exports. Name the block as you like: the name is the account in the ledger."
    ),
    description=(
        "Reads the sales of a system without an API from the files it leaves in a folder: CSV, "
        "JSON, one JSON document per line, Parquet. The block's name becomes the account in the "
        "ledger; several are possible. Guide: docs/custom-systems.md."
    ),
    fields=FileFields,
    access="described",
    values=_values,
    lacks=("base_url", "page_size", "timeout_seconds"),
    sample={"folder": "/"},
)
