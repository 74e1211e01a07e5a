"""Requests that change something in the database: each once per Idempotency-Key.

The key is entered in the transaction of the change. So a repetition waits for the first request,
and either finds its answer or does the work itself.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Annotated, Final, TypeVar

import psycopg
from fastapi import Header, Request, Response
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from api.database import AWAY, bounded
from api.problems import key_reused, retry_later
from api.state import state_of
from sql.actor import acting_as
from sql.db import DbConnection
from sql.keys import ApiKey
from sql.named_queries import query

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description=(
            "Your own name for this request. Repeated with it, the request changes nothing and "
            "gets the first answer; for a day."
        ),
        examples=["6f1c2a0e-gold-for-42"],
    ),
]
Answer = TypeVar("Answer", bound=BaseModel)
Done = TypeVar("Done")
#: Changes under way in a process at once.
_WORKERS: Final = ThreadPoolExecutor(4, thread_name_prefix="write")


async def change(
    request: Request,
    response: Response,
    key: ApiKey,
    name: str | None,
    body: BaseModel,
    kind: type[Answer],
    act: Callable[[DbConnection, str], Answer],
) -> Answer:
    """Does the change in a transaction of its own, in a thread, and returns its answer.

    Args:
        request: Whose address is part of what was asked.
        response: Told if the answer is that of an earlier request.
        key: Who asks; changes are recorded as theirs.
        name: The sender's name for the request; None: it has none.
        body: What was asked.
        kind: What the answer is.
        act: Changes something on the connection, as the run of this name; does not commit.

    Raises:
        Problem: The name was used for another request (422), or the database does not answer.
    """
    state = state_of(request)
    asked = f"{request.method} {request.url.path}\n{body.model_dump_json()}".encode()
    # Keyed: a body may hold a phone, which could be guessed from a plain hash.
    identity = {
        "key_no": key.key_no, "idempotency_key": name,
        "digest": hmac.digest(state.config.key, b"twezah request " + asked, hashlib.sha256),
    }  # fmt: skip

    def once(connection: DbConnection, run_id: str) -> tuple[Answer, bool]:
        if name is not None and not _is_first(connection, identity):
            return kind.model_validate(_earlier(connection, identity)), True
        answer = act(connection, run_id)
        if name is not None:
            kept = {**identity, "status": 200, "answer": Jsonb(answer.model_dump(mode="json"))}
            connection.execute(query("api", "end_request"), kept)
        return answer, False

    busy = "Another change of this member is under way."
    answer, repeated = await transact(request, key, _WORKERS, once, busy=busy)
    if repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return answer


async def transact(
    request: Request,
    key: ApiKey,
    workers: Executor,
    act: Callable[[DbConnection, str], Done],
    *,
    busy: str,
) -> Done:
    """Changes something in a transaction of its own, in a thread, as the API key.

    Args:
        request: Its id names the run.
        key: Who asks; changes are recorded as theirs.
        workers: The threads for it.
        act: Changes something on the connection, as the run of this name; does not commit.
        busy: Says, as a sentence, that somebody else changes the same.

    Raises:
        Problem: The database does not answer, or others are at it (503). Whether it was done is not
            known where the database was away.
    """
    dsn = state_of(request).config.dsn
    run_id = f"api request {request.scope['state']['request_id']}"

    def work() -> Done:
        with acting_as(f"key {key.prefix}"), bounded(dsn) as connection:
            done = act(connection, run_id)
            connection.commit()
            return done

    try:
        return await asyncio.get_running_loop().run_in_executor(workers, work)
    except psycopg.errors.LockNotAvailable:
        detail = f"{busy} Nothing was done; try again."
        raise retry_later("member_busy", detail, seconds=1) from None
    except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
        detail = "Another change came in between. Nothing was done; try again."
        raise retry_later("member_busy", detail, seconds=1) from None
    except AWAY:
        detail = (
            "The database does not answer. Send the same request again, with the same "
            "Idempotency-Key: it counts once."
        )
        raise retry_later("database_away", detail) from None


def _is_first(connection: DbConnection, identity: Mapping[str, object]) -> bool:
    return connection.execute(query("api", "begin_request"), identity).fetchone() is not None


def _earlier(connection: DbConnection, identity: Mapping[str, object]) -> object:
    """The answer of the first request of that name, as JSON. Raises Problem (422)."""
    row = connection.execute(
        query("api", "known_request"), {**identity, "stale_seconds": 0}
    ).fetchone()
    if row is None or bytes(row[0]) != identity["digest"] or row[2] is None:
        raise key_reused()
    return row[2]
