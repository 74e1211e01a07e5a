"""Where alerts go: e-mail through any SMTP server, Slack, a webhook; all in one form.

Prefect has blocks for chats and for one e-mail service, but none for a mail server of one's own,
and none for several addresses.

Prefect's server loads this module (entry point `prefect.collections`), because the server sends the
alerts. So it imports nothing of ours, and nothing heavy.
"""

import asyncio
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Annotated, Any, Literal

from prefect.blocks.abstract import NotificationBlock
from pydantic import Field, SecretStr, StringConstraints, ValidationError

#: For the connection and for each answer of the server.
TIMEOUT_SECONDS = 20
Address = Annotated[str, StringConstraints(pattern=r"^[^\s@<>,;]+@[^\s@<>,;]+$", max_length=254)]


class EmailAlerts(NotificationBlock):
    """Sends alerts by e-mail.

    Name the block `alerts`, and all alerts use it within half a minute.
    """

    _block_type_name = "Email Alerts"
    _block_type_slug = "email-alerts"
    _description = "Sends alerts by e-mail, through your own mail server. Name the block `alerts`."

    recipients: list[Address] = Field(
        min_length=1,
        max_length=20,
        title="To",
        description="Who gets the alerts.",
        examples=[["ops@example.com"]],
    )
    sender: Address = Field(
        title="From", description="The sender's address.", examples=["billing@example.com"]
    )
    host: str = Field(
        min_length=1,
        title="Mail server",
        examples=["smtp.example.com"],
        description="Name of the SMTP server.",
    )
    port: int = Field(
        default=587,
        ge=1,
        le=65535,
        description="587 for STARTTLS, 465 for TLS, 25 within your own network.",
    )
    encryption: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description=(
            "How the connection is protected. `none` only within your own machine or network."
        ),
    )
    username: str = Field(default="", description="Empty: without logging in.")
    password: SecretStr = Field(
        default=SecretStr(""), description="Often an app password, made at the mail service."
    )

    def message(self, subject: str, body: str) -> EmailMessage:
        """The mail; a line break in the subject cannot add a header."""
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.recipients)
        mail["Subject"] = " ".join(subject.split())[:200]
        mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="twezah.invalid")
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(body)
        return mail

    def send(self, body: str, subject: str | None = None) -> None:
        """Send and wait for the server's answer. Raises OSError, smtplib.SMTPException."""
        secured: dict[str, Any] = {"context": ssl.create_default_context()}
        kind = smtplib.SMTP_SSL if self.encryption == "tls" else smtplib.SMTP
        with kind(
            self.host,
            self.port,
            timeout=TIMEOUT_SECONDS,
            **(secured if kind is smtplib.SMTP_SSL else {}),
        ) as server:
            if self.encryption == "starttls":
                server.starttls(**secured)
            if self.username:
                server.login(self.username, self.password.get_secret_value())
            server.send_message(self.message(subject or "Twezah", body))

    async def notify(  # type: ignore[override,unused-ignore]
        self, body: str, subject: str | None = None
    ) -> None:
        """Send in a thread, so that the server is not held up."""
        await asyncio.to_thread(self.send, body, subject)


class AlertsNotSentError(RuntimeError):
    """Some addresses could not be reached. The message names them, and no address or password."""


class Alerts(NotificationBlock):
    """Sends alerts by e-mail, to Slack (or what takes Slack's messages) and to a webhook.

    Fill in what you use, one of them or all. Name the block `alerts`, and all alerts use it.
    """

    _block_type_name = "Alerts"
    _block_type_slug = "alerts"
    _description = (
        "Sends alerts by e-mail, to Slack or to a webhook. Name the block alerts; then run the "
        "deployment test-alerts."
    )

    slack_url: SecretStr = Field(
        default=SecretStr(""),
        title="Slack",
        description=(
            "Incoming webhook of a channel, https://hooks.slack.com/... Also of Mattermost and "
            "others that take Slack's messages. Kept encrypted."
        ),
    )
    webhook_url: SecretStr = Field(
        default=SecretStr(""),
        title="Webhook",
        description=(
            "An https address of your own; it gets JSON with subject and body. Kept encrypted."
        ),
    )
    recipients: list[Address] = Field(
        default_factory=list,
        max_length=20,
        title="E-mail to",
        description="Who gets the alerts by e-mail. Needs sender and mail server below.",
        examples=[["ops@example.com"]],
    )
    sender: str = Field(
        default="",
        title="E-mail from",
        description="The sender's address.",
        examples=["billing@example.com"],
    )
    host: str = Field(
        default="",
        title="Mail server",
        description="Name of the SMTP server.",
        examples=["smtp.example.com"],
    )
    port: int = Field(
        default=587,
        ge=1,
        le=65535,
        description="587 for STARTTLS, 465 for TLS, 25 within your own network.",
    )
    encryption: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description=(
            "How the connection to the mail server is protected. none: only within your own "
            "machine or network."
        ),
    )
    username: str = Field(default="", description="Of the mail server. Empty: without logging in.")
    password: SecretStr = Field(
        default=SecretStr(""), description="Often an app password, made at the mail service."
    )

    def send(self, body: str, subject: str | None = None) -> list[str]:
        """Sends to every address that is set; returns which those are.

        Raises AlertsNotSentError, after all were tried.
        """
        sent, failed = [], []
        for name, send in self._channels(body, subject or "Twezah"):
            try:
                send()
            except Exception as error:  # noqa: BLE001 - the others must be tried all the same
                failed.append(f"{name} ({_why(error)})")
            else:
                sent.append(name)
        if failed:
            raise AlertsNotSentError(f"not sent: {', '.join(failed)}")
        if not sent:
            raise AlertsNotSentError(
                "the block alerts names no address: fill in Slack, Webhook or E-mail to"
            )
        return sent

    def _channels(self, body: str, subject: str) -> Iterator[tuple[str, Any]]:
        """Each address that is set: what it is called, and what sends to it."""
        text = f"*{subject}*\n{body}"
        if slack := self.slack_url.get_secret_value().strip():
            yield "Slack", lambda: _post(slack, {"text": text})
        if webhook := self.webhook_url.get_secret_value().strip():
            yield "webhook", lambda: _post(webhook, {"subject": subject, "body": body})
        if self.recipients:
            yield "e-mail", lambda: self._mail().send(body, subject)

    def _mail(self) -> EmailAlerts:
        return EmailAlerts(
            recipients=self.recipients,
            sender=self.sender,
            host=self.host,
            port=self.port,
            encryption=self.encryption,
            username=self.username,
            password=self.password,
        )

    async def notify(  # type: ignore[override,unused-ignore]
        self, body: str, subject: str | None = None
    ) -> None:
        """Send in a thread, so that the server is not held up. Raises AlertsNotSentError."""
        await asyncio.to_thread(self.send, body, subject)


def _post(url: str, values: dict[str, str]) -> None:
    """Sends JSON, encrypted unless it stays on this machine. Raises OSError, ValueError."""
    if not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise ValueError("the address does not begin with https://")
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        url,
        data=json.dumps(values).encode(),
        headers={"content-type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
        pass


def _why(error: Exception) -> str:
    """The kind of an error; its text may quote an address, which is a secret."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answered with {error.code}"
    if isinstance(error, ValidationError):
        return "sender or mail server is missing or not valid"
    return str(error) if type(error) is ValueError else type(error).__name__
