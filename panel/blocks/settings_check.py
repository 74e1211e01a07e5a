"""What can be known to be wrong with a connection's settings before anybody is asked."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connectors import spec_for
from connectors.kit.errors import Misconfigured
from connectors.kit.http.urls import base_url
from connectors.kit.mapping import map_pages
from connectors.kit.spec import ConnectorSpec
from panel.blocks.base import BillingConnection


def check_settings(block: BillingConnection) -> ConnectorSpec:
    """The system as these settings describe it.

    Raises Misconfigured, which names the field and what is wrong with it.
    """
    try:
        ZoneInfo(block.timezone)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        shown = block.timezone[:60]
        detail = (
            f'field "Time zone" (timezone): there is no time zone "{shown}"; '
            "it is written like Africa/Luanda"
        )
        raise Misconfigured(block.system, "settings", detail) from None
    vendor = block.connection()
    spec = spec_for(vendor)
    if spec.transport is None:
        base_url(vendor, spec)
    if block.field_mapping:
        for stream in spec.streams:
            map_pages(spec, stream, vendor, [])
    block.award_policy()
    return spec
