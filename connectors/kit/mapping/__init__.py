"""Raw pages to canonical frames: invoices, lines, and what could not be used.

In: the bodies of pages as they are stored, the spec and the account. Out: a `Mapped`, whose frames
have the schemas of `loyalty.schema`. The order of the steps: `reader` decodes a page, `gather`
makes columns of text, `columns` types them (`notation`, `parse`), `frames` puts documents and lines
together and names problems, `lookups` fills in customers and items. Nothing here sends a request.
"""

from connectors.kit.mapping.digest import mapping_digest
from connectors.kit.mapping.frames import Mapped, map_page, map_pages
from connectors.kit.mapping.lookups import fill, map_lookup, missing, phone_place
from connectors.kit.mapping.sample import try_record

__all__ = [
    "Mapped",
    "fill",
    "map_lookup",
    "map_page",
    "map_pages",
    "mapping_digest",
    "missing",
    "phone_place",
    "try_record",
]
