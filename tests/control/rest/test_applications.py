"""Call Control applications are read, and nothing is written by it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from mediaserver.control import TelnyxClient
from mediaserver.control.errors import (
    AuthenticationError,
    InvalidFieldError,
    NotFoundError,
    UnreadableReplyError,
)
from mediaserver.control.rest.applications import CallControlApplication
from tests.carrier.rest.world import world

LITERAL = {
    "id": "1494404757140276705",
    "application_name": "mine",
    "active": True,
    "webhook_event_url": "https://hooks.example.com/x",
    "webhook_event_failover_url": "https://hooks.example.com/y",
    "webhook_api_version": "1",
    "webhook_timeout_secs": 25,
    "first_command_timeout": True,
    "first_command_timeout_secs": 30,
}


def asked(
    question: Callable[[TelnyxClient], Awaitable[Any]], *replies: httpx.Response
) -> tuple[Any, list[httpx.Request]]:
    """What a question gives, and the requests it made."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return replies[min(len(requests), len(replies)) - 1]

    async def run() -> Any:
        transport = httpx.MockTransport(answer)
        async with TelnyxClient("KEY", transport=transport, draw=lambda: 0.0) as client:
            return await question(client)

    return asyncio.run(run()), requests


def retrieve(client: TelnyxClient, identity: Any = "1/2") -> Awaitable[CallControlApplication]:
    return client.call_control_applications.retrieve(identity)


def test_one_application_is_read() -> None:
    """A GET without a body; every field of protocol.md is there."""
    found, [request] = asked(retrieve, httpx.Response(200, json={"data": LITERAL}))
    assert found == CallControlApplication(**LITERAL)  # type: ignore[arg-type]  # as in the class
    assert (request.method, request.content) == ("GET", b"")
    assert request.url.raw_path == b"/v2/call_control_applications/1%2F2"
    assert request.headers["authorization"] == "Bearer KEY"


def test_all_applications_are_listed() -> None:
    """What is no application is left out; what is of another kind is None."""
    odd = {"id": 7, "active": "yes", "webhook_api_version": 2, "webhook_timeout_secs": "25"}
    body = {"data": [LITERAL, odd, {"id": None}, "x"]}
    found, [request] = asked(
        lambda client: client.call_control_applications.list(), httpx.Response(200, json=body)
    )
    assert [each.id for each in found] == ["1494404757140276705", "7"]
    assert found[1] == CallControlApplication("7", webhook_api_version="2")
    assert request.url.raw_path == b"/v2/call_control_applications"


def test_a_question_is_asked_again_like_a_command() -> None:
    """A passing failure is retried by its status."""
    replies = httpx.Response(503), httpx.Response(200, json={"data": LITERAL})
    found, requests = asked(retrieve, *replies)
    assert found.application_name == "mine"
    assert len(requests) == 2


def test_an_answer_without_an_application_is_unreadable() -> None:
    """200 with nothing in it."""
    with pytest.raises(UnreadableReplyError):
        asked(retrieve, httpx.Response(200, json={"data": {}}))


@pytest.mark.parametrize("identity", ["", "..", "a b", None])
def test_an_id_that_is_none_is_refused(identity: Any) -> None:
    """It would ask for something else."""
    with pytest.raises(InvalidFieldError, match="id"):
        asked(lambda client: retrieve(client, identity), httpx.Response(200))


async def test_the_fake_has_one_to_ask_for() -> None:
    """With the key it is told, without it is refused, and another id is not found."""
    async with world() as w:
        [found] = await w.client.call_control_applications.list()
        assert (found.active, found.webhook_api_version) == (True, "2")
        assert await w.client.call_control_applications.retrieve(found.id) == found
        with pytest.raises(NotFoundError):
            await w.client.call_control_applications.retrieve("1")
        async with TelnyxClient("WRONG", base_url=w.fake.base_url) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.call_control_applications.list()
