"""E-mail through any SMTP server.

Prefect has blocks for chats and for one e-mail service, but none for a mail server of one's own.

Prefect's server loads this module (entry point `prefect.collections`), because the server sends the
alerts. So it imports nothing of ours, and nothing heavy.
"""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Annotated, Any, Literal

from prefect.blocks.abstract import NotificationBlock
from pydantic import Field, SecretStr, StringConstraints

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
