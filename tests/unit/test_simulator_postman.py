"""The simulated vendors send what happens to the addresses they were told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

import simulator
from simulator.postman import Postman
from simulator.server import Application
from tests.support import waiting

wait_until = partial(waiting.wait_until, seconds=10)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@contextmanager
def mailbox(answers: list[int]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address, and what came in; it answers with these statuses, then 200."""
    came: list[dict[str, Any]] = []

    class Box(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            came.append(
                {"id": self.headers["webhook-id"], "name": body["type"], "data": body["data"]}
            )
            self.send_response(answers.pop(0) if answers else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Box)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_happens_is_sent_and_sent_again_until_it_is_taken() -> None:
    world = simulator.World(seed=3, customers=5, invoices=5)
    postman = Postman(world)
    world.evolve(5, systems=("custom",))
    postman.collect()  # nobody was introduced: nobody is told
    with mailbox([503]) as (url, came):
        for _ in range(2):  # the same again does not forget what happened in between
            postman.introduce({"custom": {"url": url, "secret": SECRET}})
            world.evolve(8, systems=("custom",))
        postman.collect()
        changed = {d.id for d in world.books["custom"].all()}
        wait_until(lambda: len(came) >= 3)
        wait_until(postman._waiting.empty)
    assert came[0]["id"] == came[1]["id"], "the first was refused"
    assert {one["data"]["id"] for one in came} <= changed
    assert len({one["id"] for one in came}) == len(came) - 1


@pytest.mark.parametrize(
    "given", [[], {"netsuite": {"url": "http://x", "secret": "s"}}, {"xero": {"url": "file:///etc", "secret": "s"}}, {"xero": {}}, {"xero": 1}]
)  # fmt: skip
def test_what_is_no_address_is_refused(given: Any) -> None:
    world = simulator.World(customers=0, invoices=0)
    application = Application(world, introduce=Postman(world).introduce)
    transport = httpx.ASGITransport(app=application)

    async def ask() -> int:
        async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as client:
            return (await client.put("/webhooks", json=given)).status_code

    import asyncio

    assert asyncio.run(ask()) == 400
