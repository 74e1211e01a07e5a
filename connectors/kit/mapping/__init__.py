"""Raw pages to canonical frames: invoices, lines, and what could not be used."""

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
