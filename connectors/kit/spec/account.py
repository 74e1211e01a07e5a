"""One connected account, as an operator configured it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import SecretStr

from connectors.kit.errors import Misconfigured

NO_SECRET: Final = SecretStr("")


@dataclass(frozen=True)
class Account:
    """One connected account, as an operator configured it. Secrets never show in its repr."""

    #: The billing system's key.
    system: str
    #: Its id at the vendor.
    account: str
    #: Empty: the vendor's own. It may carry a path prefix, or repeat the start of the vendor's
    #: paths.
    base_url: str = ""
    #: Empty: the vendor's own.
    token_url: str = ""
    client_id: str = ""
    client_secret: SecretStr = NO_SECRET
    #: The seed that the consent gave; the live one is in the token store.
    refresh_token: SecretStr = NO_SECRET
    #: Records to ask for per page; None: as many as the vendor allows.
    page_size: int | None = None
    #: ISO 3166 code of the country that phone numbers without a country code belong to.
    region: str = "AO"
    #: Where dates without a time are midnight.
    timezone: str = "Africa/Luanda"
    #: For connecting and for each read of an answer.
    timeout_seconds: float = 30
    #: Source paths in place of the system's own: {"customer_phone": "/CustomField/0/StringValue"};
    #: for one stream {"invoices.customer_phone": ...}; for lines {"lines.sku": ...}.
    paths: Mapping[str, str] = field(default_factory=dict)
    #: Used where a document names no currency (single-currency companies).
    default_currency: str | None = None
    #: The one that is registered for the application. Some vendors want it again when a token is
    #: renewed.
    redirect_uri: str = "https://localhost/"
    #: Empty: the vendor's own consent page.
    authorize_url: str = ""
    #: The system's own settings, by name.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The system's own secrets, by name.
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)
    #: What operators call it; empty: as its system.
    name: str = ""

    def secret(self, name: str) -> str:
        """The system's own secret of that name in clear text, "" where there is none."""
        secret = self.secrets.get(name)
        return secret.get_secret_value() if secret else ""


def of_account(url: str, account: Account) -> str:
    """A URL with its places in braces filled in.

    `{account}` is the account as a host label: lower case, hyphens for everything but letters and
    digits. Other names are options of the account, e.g. `{data_centre}`, where a vendor has an
    address for each country.

    Raises:
        Misconfigured: An option is missing, or holds more than a part of a host name: it must not
            send credentials to another host.
    """

    def value_of(place: re.Match[str]) -> str:
        name = place[1]
        if name == "account":
            return re.sub(r"[^a-z0-9]+", "-", account.account.lower()).strip("-")
        value = str(account.options.get(name, ""))
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", value):
            detail = f"the setting {name!r} must be a part of the address: letters, digits, dots"
            raise Misconfigured(account.system, "connect", detail)
        return value

    return re.sub(r"\{(\w+)\}", value_of, url)
