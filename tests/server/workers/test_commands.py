"""Commands from a worker to its parent: each ends, one way or the other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mediaserver.control import ActionResult, encoding
from mediaserver.control.errors import InvalidFieldError, NetworkError, UnprocessableError
from mediaserver.server.workers import commands as commands_module
from mediaserver.server.workers.commands import CommandAnswers, CommandRequests
from mediaserver.server.workers.messages import Abandoned, Command, Commanded

DONE = encoding.encode_result(ActionResult("id"))


class Pair:
    """Both sides, joined without a channel; ``perform`` is the client's."""

    def __init__(self, *, joined: bool = True) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.asked: list[Command | Abandoned] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.answers = CommandAnswers(self.perform, encoding)
        self.joined = joined
        self.requests = CommandRequests(self.send, encoding)
        # The same object each time, as a channel's method is equal to itself.
        self.answered = self.requests.answered

    def send(self, said: Command | Abandoned) -> None:
        self.asked.append(said)
        if not self.joined:
            return
        if isinstance(said, Abandoned):
            self.answers.abandoned(said.request, self.answered)
        else:
            self.answers.requested(said, self.answered)

    async def perform(
        self, call_id: str, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> ActionResult:
        await self.goes_on.wait()
        if call_id == "over":
            raise UnprocessableError(422)
        if call_id == "bug":
            raise KeyError(call_id)
        self.done.append((call_id, method, args, kwargs))
        return ActionResult(f"{method} {call_id}", was_already_so=True)

    async def ask(self, call_id: str, *args: Any, **kwargs: Any) -> Any:
        return await self.requests.perform(call_id, "speak", args, kwargs)

    async def asked_first(self, call_id: str = "a") -> asyncio.Task[Any]:
        """A request that has been sent, and waits."""
        waits = asyncio.create_task(self.ask(call_id))
        while not self.asked:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)
        return waits

    def first(self) -> int:
        return self.asked[0].request


async def test_each_request_gets_its_own_answer() -> None:
    """Many at once, some of which fail; arguments and results arrive as they were given."""
    pair = Pair()
    got = await asyncio.gather(
        pair.ask("a", "x", n=1),
        pair.ask("over"),
        pair.ask("b", state=b"\xff"),
        return_exceptions=True,
    )
    assert got[0] == ActionResult("speak a", was_already_so=True)
    assert type(got[1]) is UnprocessableError
    assert got[2] == ActionResult("speak b", was_already_so=True)
    assert pair.done == [("a", "speak", ["x"], {"n": 1}), ("b", "speak", [], {"state": b"\xff"})]
    assert pair.requests._waiting == {}
    await asyncio.sleep(0)
    assert pair.answers._tasks == {}


async def test_an_unforeseen_error_is_an_error_too() -> None:
    """The request ends, whatever the client raised."""
    with pytest.raises(encoding.ControlError, match="KeyError"):
        await Pair().ask("bug")


async def test_arguments_that_are_none_are_an_error_too() -> None:
    """As a broken worker may send them."""
    pair = Pair()
    answers: list[Commanded] = []
    pair.answers.requested(Command(1, "a", "speak", b"\xc1"), answers.append)
    pair.answers.requested(Command(2, "a", "speak", b"\x93\x01\x02\x03"), answers.append)
    async with asyncio.timeout(10):
        while len(answers) < 2:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.005)
    assert [each.error is not None for each in answers] == [True, True]
    assert pair.done == []


async def test_what_cannot_be_sent_is_not_asked() -> None:
    """It is the field's error, at once, and nothing waits."""
    pair = Pair()
    with pytest.raises(InvalidFieldError, match=r"^extra: "):
        await pair.ask("a", extra={"n": object()})
    assert pair.asked == []
    assert pair.requests._waiting == {}


async def test_without_an_answer_a_request_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time that is longer than the client's own."""
    from mediaserver.control import RetryPolicy

    assert RetryPolicy().deadline_s < commands_module.ANSWER_WITHIN_S
    monkeypatch.setattr(commands_module, "ANSWER_WITHIN_S", 0.01)
    pair = Pair(joined=False)
    with pytest.raises(NetworkError, match="silent"):
        await pair.ask("a")
    pair.answered(Commanded(pair.first(), DONE))  # late: nobody waits


async def test_the_end_ends_all_requests() -> None:
    """Those that wait and those that come later; the first reason is the one."""
    pair = Pair(joined=False)
    waits = await pair.asked_first()
    pair.requests.close("the server's main process is gone")
    pair.requests.close("the worker ends")
    for request in (waits, pair.ask("b")):
        with pytest.raises(NetworkError, match="main process is gone"):
            await request
    assert len(pair.asked) == 1


async def test_a_cancelled_request_leaves_nothing() -> None:
    """As where handlers are cut: the parent tries no more, and a late answer harms nobody."""
    pair = Pair()
    pair.goes_on.clear()
    waits = await pair.asked_first()
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert pair.asked[1:] == [Abandoned(pair.first())]
    assert pair.requests._waiting == {}
    pair.goes_on.set()
    await asyncio.sleep(0.01)
    assert pair.answers._tasks == {}
    assert pair.done == []
    pair.answered(Commanded(pair.first(), DONE))


async def test_what_is_abandoned_too_late_is_done() -> None:
    """Its answer was on the way; of two workers each has its own numbers."""
    pair = Pair()
    pair.goes_on.clear()
    waits = await pair.asked_first()
    pair.answers.abandoned(pair.first(), lambda _: None)  # of another worker
    pair.answers.abandoned(99, pair.answered)
    pair.goes_on.set()
    assert await waits == ActionResult("speak a", was_already_so=True)


async def test_the_parent_that_closes_cancels_what_is_under_way() -> None:
    """Nothing is left running behind it."""
    pair = Pair()
    pair.goes_on.clear()
    waits = await pair.asked_first()
    await asyncio.sleep(0.01)
    await pair.answers.close()
    assert pair.answers._tasks == {}
    assert pair.done == []
    pair.requests.close("the worker ends")
    with pytest.raises(NetworkError):
        await waits
