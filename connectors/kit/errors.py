"""What can go wrong while talking to a billing system, ordered by who must act.

    ConnectorError
    ├── Retriable            nobody: kit.http.retry tries again, within limits
    │   ├── Transient        no answer, a broken connection, 408, 5xx
    │   └── RateLimited      429; `retry_after_seconds`, `come_back_at`
    ├── NeedsOperator        someone edits the Prefect block named in the message
    │   ├── CredentialsRejected
    │   ├── PermissionMissing
    │   ├── ConsentFailed    the consent in the browser: refused, too late, or not ours
    │   └── Misconfigured
    │       └── ListedTooFew
    └── ContractBroken       the vendor, or us: the answer is not what was agreed
        ├── UnexpectedShape  not JSON, another envelope, an error body; see `body`
        │   └── UnknownDocument  one document was asked for, and the vendor does not have it
        ├── PaginationLoop   a page that was read before
        └── TooManyPages     more pages than the spec's limit

A message also says what to do about it (`advice`). It names the method, host, path and status;
never a query, header, body, secret or personal datum.
"""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Self


def block_name(system: str) -> str:
    """What operators call a system: its block, deployment and reports.

    Prefect takes no underscores there.
    """
    return system.replace("_", "-")


def system_name(name: str) -> str:
    """The key of a system in code and tables: `sage-intacct` becomes `sage_intacct`."""
    return name.replace("-", "_")


class ConnectorError(Exception):
    """Talking to a billing system failed."""

    #: What to do about it, with `{block}` for the name of the account's block.
    advice: ClassVar[str] = ""

    def __init__(
        self,
        system: str,
        operation: str,
        detail: str,
        *,
        call: str = "",
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        """Builds the message.

        Args:
            system: The billing system's key.
            operation: What was done: the name of a list, or "token", "connect", "settings", ...
            detail: What went wrong, without a value of the vendor's or ours.
            call: Method and address without its query; "" where nothing was asked.
            status: The status of the answer; None without one.
            request_id: The vendor's id of the request, which its support asks for.
        """
        self.system = system
        self.operation = operation
        self.detail = detail
        self.call = call
        self.status = status
        self.request_id = request_id
        self.block = system
        super().__init__(self._message())

    def of_block(self, name: str) -> Self:
        """The same error, with advice that names this block.

        A system can have several accounts, each with a block of its own, and a connector knows no
        block.
        """
        self.block = name
        self.args = (self._message(),)
        return self

    def _message(self) -> str:
        where = " ".join(part for part in (self.call, str(self.status or "")) if part)
        parts = [f"{self.system} {self.operation}", where, self.detail]
        if self.request_id:
            parts.append(f"request id {self.request_id}")
        text = ": ".join(part for part in parts if part)
        return f"{text}. {self._advice().format(block=block_name(self.block))}".rstrip()

    def _advice(self) -> str:
        """What to do; `{block}` is the name of the account's block."""
        return self.advice

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword arguments survive pickling only this way; Prefect moves exceptions between
        # processes.
        return _rebuild, (type(self), self.args, self.__dict__)

    @classmethod
    def _restored(cls, args: tuple[Any, ...], state: dict[str, Any]) -> Self:
        error = cls.__new__(cls, *args)
        error.__dict__.update(state)
        error.args = args
        return error


def _rebuild(
    cls: type[ConnectorError], args: tuple[Any, ...], state: dict[str, Any]
) -> ConnectorError:
    return cls._restored(args, state)


class Retriable(ConnectorError):
    """May succeed when tried again.

    `retry_after_seconds` is the wait that the vendor asks for; None: it asks for none.
    """

    advice = "It was tried several times; the next scheduled run continues where this one stopped."
    retry_after_seconds: float | None = None


class Transient(Retriable):
    """No answer, a broken connection or a server error."""


class RateLimited(Retriable):
    """The vendor asks to slow down.

    `retry_after_seconds` is the wait that the vendor asks for (None: it does not say), and
    `come_back_at` the same as an instant in UTC.
    """

    def __init__(
        self,
        system: str,
        operation: str,
        detail: str = "too many requests",
        *,
        retry_after_seconds: float | None = None,
        now: datetime | None = None,
        call: str = "",
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        self.come_back_at: datetime | None = None
        if retry_after_seconds is not None and now is not None:
            self.come_back_at = now + timedelta(seconds=retry_after_seconds)
            detail = f"{detail}, come back at {self.come_back_at:%Y-%m-%d %H:%M:%S} UTC"
        super().__init__(system, operation, detail, call=call, status=status, request_id=request_id)


class NeedsOperator(ConnectorError):
    """Fails until someone changes the account's settings."""

    #: Who must act, for the test of a connection; "": the kind of the error says it.
    who: ClassVar[str] = ""


class CredentialsRejected(NeedsOperator):
    """The vendor refuses the credentials, and renewing the token did not help."""

    advice = (
        'Re-consent with `twezah connect` or the deployment "connect" (or put a valid key or '
        'password) for the block "{block}" (check client id, secret and redirect URI there as '
        "well)."
    )
    #: The advice by the vendor's code (RFC 6749, section 5.2), which tells which of the credentials
    #: is wrong. What to look at first comes first.
    advice_by_code: ClassVar[dict[str, str]] = {
        "invalid_client": (
            'Check client id and client secret in the block "{block}": the vendor does not know '
            "them. If the secret was renewed at the vendor, enter the new one."
        ),
        "invalid_grant": (
            'The refresh token is no longer valid: connect the block "{block}" anew with `twezah '
            'connect` or the deployment "connect" (or paste a new refresh token into it). If that '
            "one is refused too, it belongs to another client id or redirect URI than the block "
            "names."
        ),
    }

    def _advice(self) -> str:
        # A system with ways to log in of its own has its own advice.
        if self.advice is not CredentialsRejected.advice:
            return self.advice
        return self.advice_by_code.get(self.detail.strip().lower(), self.advice)


class PermissionMissing(NeedsOperator):
    """The vendor knows us, but this account or list is not allowed to us."""

    advice = 'Check the account in the block "{block}" and the scopes granted at the vendor.'


class ConsentFailed(NeedsOperator):
    """The round trip through the vendor's consent page brought no token.

    The detail says what to do.
    """

    advice = 'Then start again, with `twezah connect` or the deployment "connect", for "{block}".'


class Misconfigured(NeedsOperator):
    """A setting of the account cannot work as it is."""

    advice = 'Correct it in the block "{block}".'


class ListedTooFew(Misconfigured):
    """Fewer records were listed than the answers say there are.

    An interrupted read must not be continued behind the pages that were read.
    """


class ContractBroken(ConnectorError):
    """The answer is not what the vendor documents; the next run reads the same window again."""

    advice = (
        'If the base URL or account in the block "{block}" is right, the vendor changed something: '
        "report this message."
    )


class UnexpectedShape(ContractBroken):
    """The answer cannot be read; `body` keeps it (never part of the message)."""

    #: Whether a setting of the block is the likelier cause: the advice names it.
    by_settings: ClassVar[bool] = False
    body: bytes | None = None


class UnknownDocument(UnexpectedShape):
    """The vendor does not have the document that was asked for by its id.

    Vendors that say so with another status than 404 and 410 have a code for it.
    """


class PaginationLoop(ContractBroken):
    """Two pages of one list hold exactly the same records."""


class TooManyPages(ContractBroken):
    """A list has more pages than its limit: it never ends, or the spec's limit is too low."""
