"""Blocks of systems that someone lets us into in a browser (OAuth 2, authorization code)."""

from dataclasses import replace

from connectors.kit.spec import Account
from connectors.kit.spec.form import ConsentedApp
from panel.blocks.base import BillingConnection


class ConsentedConnection(BillingConnection, ConsentedApp):
    """A connection that lives by a consent: its refresh token rotates."""

    def missing(self) -> str:
        """What the form asks for, then the consent, which gives account and refresh token."""
        if missing := super().missing():
            return missing
        if not self.made_from.needs_consent(self):
            return ""
        if self.refresh_token.get_secret_value() and self.account():
            return ""
        return (
            f"the consent is missing: run `twezah connect {self.name}` or the deployment `connect` "
            f"with {self.name!r}"
        )

    def connection(self) -> Account:
        """The values the connector needs."""
        return replace(
            super().connection(),
            token_url=self.token_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            refresh_token=self.refresh_token,
            redirect_uri=self.redirect_uri,
            authorize_url=self.authorize_url,
        )
