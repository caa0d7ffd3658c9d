"""Every process that carries calls can be asked what it knows."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest

from mediaserver.server.workers import queries
from tests.server.conftest import Serving
from tests.server.workers.crews import PATIENT, call_to, crew, echoes, soon


def read(answers: list[tuple[int | None, bytes]]) -> dict[int | None, int]:
    """The numbers of calls that were answered."""
    return {index: msgspec.msgpack.decode(body, type=int) for index, body in answers}


async def test_a_single_process_answers_itself(serving: Serving) -> None:
    """Its number is None; a word that it does not know has an empty answer."""
    async with serving("echo") as server:
        async with call_to(server) as call:
            assert await echoes(call, 0x11)
            assert read(await server.service.ask("n_calls")) == {None: 1}
            assert await server.service.ask("weather") == [(None, b"")]


async def test_every_worker_answers(serving: Serving) -> None:
    """In the order of their numbers, each for itself; also many questions at once."""
    async with serving("echo", workers=3, limits=PATIENT) as server:
        async with call_to(server) as first, call_to(server) as second:
            assert await echoes(first, 0x11)
            assert await echoes(second, 0x12)
            answers = await server.service.ask("n_calls")
            assert [index for index, _ in answers] == [0, 1, 2]
            assert sorted(read(answers).values()) == [0, 1, 1]
            assert await server.service.ask("weather") == [(0, b""), (1, b""), (2, b"")]
        assert server.service.counters["unanswered_queries"] == 0


async def test_a_worker_that_hangs_is_left_out(serving: Serving) -> None:
    """The others' answers come after the time is over, and it is counted; then it answers again."""
    async with serving("echo", workers=2, limits=PATIENT) as server:
        hung = crew(server).workers[0]
        os.kill(hung.pid, signal.SIGSTOP)
        try:
            assert [index for index, _ in await server.service.ask("n_calls")] == [1]
            assert server.service.counters["unanswered_queries"] == 1
        finally:
            os.kill(hung.pid, signal.SIGCONT)
        await soon(lambda: hung.is_able)
        assert not crew(server)._queries._waiting, "a late answer is dropped"


async def test_a_worker_that_dies_is_not_waited_for(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was asked ends with it."""
    monkeypatch.setattr(queries, "ANSWER_WITHIN_S", 3600.0)
    async with serving("echo", workers=2, limits=PATIENT) as server:
        victim = crew(server).workers[0]
        os.kill(victim.pid, signal.SIGSTOP)
        os.kill(victim.pid, signal.SIGKILL)
        assert [index for index, _ in await server.service.ask("n_calls")] == [1]
