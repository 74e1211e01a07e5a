"""The end of a run that asks for something impossible.

It has failed and changed nothing. Only the person who started it needs to know, so no alert is
sent.
"""

from typing import Any, Final

from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import ValidationError

#: The state's name in Prefect's UI; its type is Failed. No alert is sent for it: the person who
#: started the run sees the message.
REFUSED: Final = "Refused"


def refused_state(why: str) -> State[Any]:
    """The final state of such a run; `why` is a sentence without its full stop."""
    return Failed(
        name=REFUSED,
        message=(
            f"Refused: {why}. Nothing was changed. Start another run with other values (Run, "
            "Custom run); Retry would be refused again."
        ),
    )


def why_refused(error: Exception) -> str:
    """The reason for `refused_state`: of a wrong form, which of its fields are wrong and how."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
    return str(error).rstrip(".")
