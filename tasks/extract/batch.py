"""A batch of mapped pages: what extraction hands to the load.

In: stored pages of one list. Out: `MappedBatch`: the same records as canonical invoices and lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.kit.mapping import Mapped, map_pages, missing
from connectors.kit.spec import Account, ConnectorSpec, Stream, Window
from sql.sync import StoredPage


@dataclass(frozen=True)
class MappedBatch:
    """Some pages of one list of the connector, mapped."""

    #: The list's name.
    stream: str
    #: Its records in our columns, and what could not be read of them.
    mapped: Mapped
    #: Per lookup ("customers", "items") the ids that the records lack a phone or SKU of. The batch
    #: cannot be loaded before they are looked up.
    needs: dict[str, set[str]]


def map_batch(
    spec: ConnectorSpec,
    vendor: Account,
    stream: Stream,
    window: Window,
    pages: Sequence[StoredPage],
) -> MappedBatch:
    """Maps some pages of one list.

    `window` is the period that was asked for: what a list names outside of it is left out.

    Raises:
        ConnectorError: A page cannot be read.
    """
    mapped = map_pages(
        spec, stream, vendor, ((page.page_id, page.body()) for page in pages), window=window
    )
    return MappedBatch(stream.name, mapped, missing(spec, mapped))
