"""One connected account, as an operator configured it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import SecretStr

NO_SECRET: Final = SecretStr("")


@dataclass(frozen=True)
class Account:
    """One connected account, as an operator configured it. Secrets never show in its repr.

    `base_url` and `token_url` empty: the vendor's own. `base_url` may carry a path prefix, or
    repeat the start of the vendor's paths. `refresh_token` is the seed given at consent; the live
    one is in the token store. `paths` overrides source paths: {"customer_phone":
    "/CustomField/0/StringValue"}, for one stream {"invoices.customer_phone": ...}, for lines
    {"lines.sku": ...}. `default_currency` is used where a document names none (single-currency
    companies). Dates without a time are midnight in `timezone`. `redirect_uri` is the one
    registered for the application: FreshBooks asks for it again when a token is renewed.
    `authorize_url` empty: the vendor's own consent page. `name` is what operators call it; empty:
    as its system.
    """

    system: str
    account: str
    base_url: str = ""
    token_url: str = ""
    client_id: str = ""
    client_secret: SecretStr = NO_SECRET
    refresh_token: SecretStr = NO_SECRET
    page_size: int | None = None
    region: str = "AO"
    timezone: str = "Africa/Luanda"
    timeout_seconds: float = 30
    paths: Mapping[str, str] = field(default_factory=dict)
    default_currency: str | None = None
    redirect_uri: str = "https://localhost/"
    authorize_url: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)
    name: str = ""

    def secret(self, name: str) -> str:
        """The system's own secret of that name in clear text, "" where there is none."""
        found = self.secrets.get(name)
        return found.get_secret_value() if found else ""


def of_account(url: str, connection: Account) -> str:
    """A URL with its places in braces filled in.

    `{account}` is the account as a host label: lower case, hyphens for everything else. Other names
    are options of the connection, e.g. `{data_centre}`, where a vendor has an address per country.
    """
    label = re.sub(r"[^a-z0-9]+", "-", connection.account.lower()).strip("-")
    filled = url.replace("{account}", label)
    for name, value in connection.options.items():
        filled = filled.replace(f"{{{name}}}", str(value))
    return filled
