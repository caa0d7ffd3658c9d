"""Requests to hang up, from a worker to its parent: each ends, one way or the other."""

from __future__ import annotations

import asyncio

import pytest

from mediaserver.control import encoding
from mediaserver.control.errors import NetworkError, UnprocessableError
from mediaserver.server.workers import hangup as hangup_module
from mediaserver.server.workers.hangup import HangUpAnswers, HangUpRequests
from mediaserver.server.workers.messages import HangUp, HungUp


class Pair:
    """Both sides, joined without a channel; ``hangup`` is the client's."""

    def __init__(self, *, joined: bool = True) -> None:
        self.hung_up: list[str] = []
        self.asked: list[HangUp] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.answers = HangUpAnswers(self.hangup, encoding.encode_error)
        self.joined = joined
        self.requests = HangUpRequests(self.send, encoding)

    def send(self, request: HangUp) -> None:
        self.asked.append(request)
        if self.joined:
            self.answers.requested(request, self.requests.answered)

    async def hangup(self, call_id: str) -> None:
        await self.goes_on.wait()
        if call_id == "over":
            raise UnprocessableError(422)
        if call_id == "bug":
            raise KeyError(call_id)
        self.hung_up.append(call_id)


async def test_each_request_gets_its_own_answer() -> None:
    """Many at once, some of which fail."""
    pair = Pair()
    hangup = pair.requests.hangup
    got = await asyncio.gather(hangup("a"), hangup("over"), hangup("b"), return_exceptions=True)
    assert [type(each).__name__ for each in got] == ["NoneType", "UnprocessableError", "NoneType"]
    assert pair.hung_up == ["a", "b"]
    assert pair.requests._waiting == {}


async def test_an_unforeseen_error_is_an_error_too() -> None:
    """The request ends, whatever the client raised."""
    with pytest.raises(encoding.ControlError, match="KeyError"):
        await Pair().requests.hangup("bug")


async def test_without_an_answer_a_request_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time that is longer than the client's own."""
    from mediaserver.control import RetryPolicy

    assert RetryPolicy().deadline_s < hangup_module.ANSWER_WITHIN_S
    monkeypatch.setattr(hangup_module, "ANSWER_WITHIN_S", 0.01)
    pair = Pair(joined=False)
    with pytest.raises(NetworkError, match="silent"):
        await pair.requests.hangup("a")
    pair.requests.answered(HungUp(pair.asked[0].request))  # late: nobody waits


async def test_the_end_ends_all_requests() -> None:
    """Those that wait and those that come later; the first reason is the one."""
    pair = Pair(joined=False)
    waits = asyncio.create_task(pair.requests.hangup("a"))
    await asyncio.sleep(0)
    pair.requests.close("the server's main process is gone")
    pair.requests.close("the worker ends")
    for request in (waits, pair.requests.hangup("b")):
        with pytest.raises(NetworkError, match="main process is gone"):
            await request
    assert len(pair.asked) == 1


async def test_a_cancelled_request_leaves_nothing() -> None:
    """As where the call's handlers are cut; a late answer harms nobody."""
    pair = Pair(joined=False)
    waits = asyncio.create_task(pair.requests.hangup("a"))
    await asyncio.sleep(0)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert pair.requests._waiting == {}
    pair.requests.answered(HungUp(pair.asked[0].request))


async def test_the_parent_that_closes_cancels_what_is_under_way() -> None:
    """Nothing is left running behind it."""
    pair = Pair()
    pair.goes_on.clear()
    waits = asyncio.create_task(pair.requests.hangup("a"))
    await asyncio.sleep(0.01)
    await pair.answers.close()
    assert pair.answers._tasks == set()
    assert pair.hung_up == []
    pair.requests.close("the worker ends")
    with pytest.raises(NetworkError):
        await waits
