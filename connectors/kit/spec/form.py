"""The form of one billing system, as values: what an operator fills in to connect an account.

`connectors/<system>/form.py` gives a `FORM`; `panel/blocks/` makes a block of Prefect of it.
Nothing here knows Prefect, so that a system can be described, read and tested without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec.account import NO_SECRET

_HOW_IT_CHANGES: Final = (
    "Kept encrypted. To change it, enter the new one here: the old one is good for a day longer."
)


def _everything_is_filled_in(_values: Any) -> str:
    return ""


def _always(_values: Any) -> bool:
    return True


def _nothing_more(_values: Any) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, eq=False)
class Form:
    """One system's form. Its functions are given the filled-in form, with `name`, the block's name.

    Names that are stored with a filled-in form (`block`, the fields) never change: saved forms with
    their secrets would be lost.
    """

    #: Name of the block's type, e.g. `Xero Connection`. Its class (`XeroConnection`) and its slug
    #: (`xero-connection`) follow from it.
    block: str
    #: One sentence: what one block connects, and how to name it.
    summary: str
    #: What the block's card in the catalogue says.
    description: str
    #: The fields with which the form begins, in this order.
    fields: type[BaseModel]
    #: How an account is let in. consent: by a person in a browser (OAuth 2, authorization code).
    #: key: by what the operator enters. described: the operator describes the whole system.
    access: Literal["consent", "key", "described"] = "key"
    #: The field that names the account at the vendor; "": the block's name is the account.
    account_field: str = ""
    #: The account, where it is more than the value of `account_field`.
    account: Callable[[Any], str] | None = None
    #: Fields that every form has, with another default or text, and fields that stand last.
    changed: type[BaseModel] | None = None
    #: Whether the form has a field for the secret of webhooks.
    webhook_secret: bool = False
    #: What to do at the billing system for its webhooks, and here afterwards: Markdown, in which
    #: `{block}` becomes a link to the block.
    webhook_steps: str = ""
    #: The same in short for the command line; `{id}` becomes the first characters of the address.
    webhook_hint: str = ""
    #: How many addresses a connection's webhooks need.
    webhook_addresses: int = 1
    #: Days after which the vendor forgets a consent that nobody used; None: it never does.
    consent_idle_days: int | None = None
    #: Errors by which a run says that the credentials are wrong: the deployment names them.
    refusals: tuple[str, ...] = ("CredentialsRejected",)
    #: What the form still lacks, as a sentence for the operator; "": nothing.
    missing: Callable[[Any], str] = _everything_is_filled_in
    #: Of systems with a consent: whether these values need one.
    needs_consent: Callable[[Any], bool] = _always
    #: Values of the `Account` besides those that every form gives: options, secrets, paths, ...
    values: Callable[[Any], Mapping[str, Any]] = _nothing_more
    #: An example for *Field mapping* that fits this system; "": the general one.
    mapping_example: str = ""
    #: What the form shows first, in this order, where that is not the order of the fields.
    begins: tuple[str, ...] = ()
    #: What follows, by theme: its name and its fields. All others stand last.
    themes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    #: Whether sales arrive by webhook alone: nobody is asked, and there is no schedule.
    pushed_only: bool = False
    #: General fields that the form leaves out.
    lacks: tuple[str, ...] = ()
    #: Of described systems: values that a form must have and a sample does not need.
    sample: Mapping[str, Any] = field(default_factory=dict)
    #: Values with which `--simulator` fills the form, beside the usual ones. What begins with a
    #: slash is a path of the simulator. None: there is no simulator of this system.
    simulated: Mapping[str, str] | None = None

    @property
    def class_name(self) -> str:
        """Name of the block's class."""
        return self.block.replace(" ", "")

    @property
    def slug(self) -> str:
        """How the block's type is spelled in addresses and in Prefect's database."""
        return self.block.lower().replace(" ", "-")


class ConsentedApp(BaseModel):
    """Credentials of systems that someone consents to in a browser (OAuth 2)."""

    client_id: str = Field(
        title="Client ID", description="Client ID of your app at the vendor's developer portal."
    )
    client_secret: SecretStr = Field(
        title="Client secret", description="Client secret of the same app. Kept encrypted."
    )
    refresh_token: SecretStr = Field(
        default=SecretStr(""),
        title="Refresh token",
        description=(
            "Leave it empty and run the deployment *connect* (or `twezah connect`): it fills this "
            "and the account after the consent in the browser. The token is renewed and kept "
            "encrypted in the database from then on."
        ),
    )
    token_url: str = Field(default="", title="Token URL", description="Empty: the vendor's own.")
    authorize_url: str = Field(
        default="", title="Consent page", description="Empty: the vendor's own. For a simulator."
    )
    redirect_uri: str = Field(
        default="https://localhost/",
        title="Redirect URI",
        description=(
            "The one registered with the app, to the letter. Left as it is, *connect* takes "
            "http://localhost:8912/callback where the vendor allows that."
        ),
    )


class Announced(BaseModel):
    """The secret with which a system signs its webhooks, known to or chosen by the operator."""

    webhook_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Webhook secret",
        description=(
            "Only for points within a second of the sale: what the vendor calls its signing secret "
            "(QuickBooks: verifier token; Xero: webhooks key; your own system: whsec_ and 24 to 64 "
            "random bytes in base64). Run the deployment *webhook-address* before, which makes the "
            f"address, and after. {_HOW_IT_CHANGES}"
        ),
    )


class Subscribed(BaseModel):
    """Whether the program subscribes its address by itself, at systems with an API for it."""

    webhook_subscriptions: Literal["automatic", "off"] = Field(
        default="automatic",
        title="Webhook subscriptions",
        description=(
            "automatic: where this installation has a public https address "
            "(TWEZAH_API_PUBLIC_URL), the program subscribes it at the billing system by itself, "
            "keeps the subscription alive and stores its secret. off: it does not, and removes "
            "what it subscribed; a person may then enter the address there."
        ),
    )


def deletions_every(default: int, description: str) -> Any:
    """The field *Look for deletions every (hours)*, of systems that must list all ids for it.

    Args:
        default: Hours; 0: in every run.
        description: What is listed, and what it costs.
    """
    return Field(
        default=default,
        ge=0,
        le=168,
        title="Look for deletions every (hours)",
        description=f"{description} 0: in every run.",
    )


def overlap(default: int, *, least: int) -> Any:
    """The field *Overlap (minutes)* for a vendor whose times need a longer look back.

    Args:
        default: Minutes that each run looks back further than the last one ended.
        least: Fewest minutes that an operator may choose.
    """
    return Field(
        default=default,
        ge=least,
        le=10_080,
        title="Overlap (minutes)",
        description=(
            "Each sync looks back this much further than the last one ended, for late changes. "
            "Nothing counts twice."
        ),
    )
