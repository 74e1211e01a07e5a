"""How our own programs tell Prefect's server for whom they act."""

import json
from typing import Final

#: The header. Who has Prefect's password could send it as well; the name is as good as the password.
ACTOR_HEADER: Final = "x-twezah-actor"


def acting_for(actor: str) -> dict[str, str]:
    """Environment of a program of ours that says for whom it acts."""
    return {"PREFECT_CLIENT_CUSTOM_HEADERS": json.dumps({ACTOR_HEADER: actor})}
