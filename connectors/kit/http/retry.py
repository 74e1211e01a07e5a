"""The one layer of retries. Two layers would multiply the attempts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx
import stamina

from connectors.kit.errors import (
    ConnectorError,
    ContractBroken,
    RateLimited,
    Retriable,
    TooManyPages,
    UnexpectedShape,
)
from connectors.kit.http.client import Client
from connectors.kit.http.responses import Answer
from connectors.kit.spec import PageRequest, RetryPolicy

#: What is read out of an answer.
T = TypeVar("T")


def send_with_retry(
    client: Client, request: PageRequest, operation: str, read: Callable[[PageRequest, Answer], T]
) -> tuple[Answer, T]:
    """Sends a request and reads its answer, and retries failures that may pass.

    Attempts and total time are bounded by the spec's `RetryPolicy`.
    """
    policy = client.spec.retry
    for attempt in stamina.retry_context(
        on=RetryDecision(policy).backoff,
        attempts=policy.attempts,
        timeout=policy.total_seconds,
        wait_initial=0.5,
        wait_max=30,
    ):
        with attempt:
            answer = client.send(request, operation)
            try:
                return answer, read(request, answer)
            except ConnectorError as error:
                raise located(error, request, answer) from error
    raise AssertionError("stamina re-raises the last error")  # pragma: no cover


@dataclass
class RetryDecision:
    """Decides, for one request, whether an error is worth another attempt."""

    policy: RetryPolicy
    #: Answers with status 200 that could not be read, so far.
    garbled: int = 0

    def backoff(self, error: Exception) -> bool | float:
        """Whether to try again: False; True, after the usual wait; or after this many seconds.

        A vendor may ask for hours of waiting (a limit per day). A run does not wait that long: it
        ends and says when to come back. A page that cannot be read, or repeats another, is asked
        for again a few times: a gateway's error page or a cut-off answer passes, while a broken
        contract is still broken the third time.
        """
        if isinstance(error, ContractBroken) and error.status == httpx.codes.OK:
            self.garbled += 1
            return self.garbled <= self.policy.garbled_limit and not isinstance(error, TooManyPages)
        if not isinstance(error, Retriable):
            return False
        if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
            wait_seconds = error.retry_after_seconds
            return wait_seconds if wait_seconds <= self.policy.longest_wait_seconds else False
        return True


def located(error: ConnectorError, request: PageRequest, answer: Answer) -> ConnectorError:
    """The same error with its call, which the code that reads a page does not know."""
    call = f"{request.method} {request.path}"
    located = type(error)(
        error.system, error.operation, error.detail, call=call, status=answer.status
    )
    if isinstance(located, UnexpectedShape):
        located.body = answer.body
    return located
