"""What can be known to be wrong with a connection's settings before anybody is asked.

These are the rules of a run. A connection is checked by them when its form is saved, when the page
"Billing systems" shows it, before its schedule is switched on, when it is tested, and when it runs.
"""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connectors import spec_for
from connectors.kit.errors import ConnectorError, Misconfigured
from connectors.kit.http.urls import base_url
from connectors.kit.mapping import map_pages
from connectors.kit.spec import ConnectorSpec
from panel.blocks.base import BillingConnection


def check_settings(block: BillingConnection) -> ConnectorSpec:
    """The system as these settings describe it.

    Raises Misconfigured, which names the field and what is wrong with it: also a credential that is
    not there.
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
    spec.auth(vendor)
    if spec.transport is not None:
        spec.transport(vendor)
    return spec


def why_not_ready(block: BillingConnection) -> str:
    """What keeps the connection from working, as a sentence for the operator; "": nothing."""
    if missing := block.missing():
        return missing
    try:
        check_settings(block)
    except ConnectorError as error:
        return f"a setting is not valid: {error.detail}"
    return ""
