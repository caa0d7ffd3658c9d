"""A deadline is not over before what the peer has sent was read."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from websockets.protocol import State

from mediaserver.server.sockets import deadline
from mediaserver.server.sockets.deadline import Deadline
from mediaserver.server.sockets.media_socket import (
    MediaSocket,
    Pings,
    make_media_socket,
    make_protocol,
)
from mediaserver.server.sockets.poller import SocketPoller

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
# A masked text frame: "x".
TEXT = b"\x81\x81\0\0\0\0x"
Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test on this event loop."""

    def on_loop(main: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(main(), 30)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(bounded())

    return on_loop


class Heard:
    """The user of a media socket."""

    may_be_silent_s: float | None = None

    def __init__(self) -> None:
        self.n_texts = 0
        self.n_unanswered = 0
        self.codes: list[int] = []

    def opened(self, socket: MediaSocket) -> None:
        """Nothing to do."""

    def text_received(self, data: bytes, now: float) -> None:
        self.n_texts += 1

    def pings_unanswered(self) -> None:
        self.n_unanswered += 1

    def long_text_received(self, data: bytes, now: float) -> None:
        self.n_texts += 1

    def flooded_behind_close(self) -> None:
        """Nothing to do."""

    def binary_received(self, now: float) -> None:
        """Nothing to do."""

    def closing(self) -> None:
        """Nothing to do."""

    def writing_blocked(self, blocked: bool) -> None:
        """Nothing to do."""

    def socket_closed(self, code: int, reason: str) -> None:
        self.codes.append(code)


async def silent_socket(
    pings: Pings, *, polled: bool = False
) -> tuple[Heard, socket.socket, asyncio.Transport, SocketPoller | None]:
    """A media socket, who hears it, the peer's end, its transport, and what reads for it."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
    heard = Heard()
    poller = SocketPoller(0.005) if polled else None
    media = make_media_socket(make_protocol(State.OPEN), transport, heard, poller, pings)
    media.read_by_poller()
    return heard, theirs, transport, poller


@pytest.mark.parametrize("polled", [False, True])
def test_a_process_that_stood_still_reads_before_it_judges(run: Run, polled: bool) -> None:
    """What a healthy peer has sent while we stood still keeps its socket open."""

    async def main() -> None:
        heard, theirs, transport, poller = await silent_socket(
            Pings(0.3, 0.3, answered=True), polled=polled
        )
        await asyncio.sleep(0.05)
        bell, rope = socket.socketpair()

        def stand_still() -> None:
            """As SIGSTOP would, among what is read: timers have their turn before the next."""
            bell.recv(1)
            for _ in range(50):
                theirs.send(TEXT)
            time.sleep(1.0)

        asyncio.get_running_loop().add_reader(bell.fileno(), stand_still)
        rope.send(b"x")
        for _ in range(8):
            await asyncio.sleep(0.1)
            theirs.send(TEXT)
        assert heard.n_texts > 50
        assert heard.codes == []
        asyncio.get_running_loop().remove_reader(bell.fileno())
        bell.close()
        rope.close()
        transport.abort()
        theirs.close()
        if poller is not None:
            poller.close()
        await asyncio.sleep(0.01)

    run(main)


def test_a_peer_that_is_gone_is_noticed(run: Run) -> None:
    """A ping without an answer ends the socket; that we stood still as well saves nobody."""

    async def main() -> None:
        heard, theirs, _, _ = await silent_socket(Pings(0.2, 0.2, answered=True))
        time.sleep(0.6)  # noqa: ASYNC251  # as SIGSTOP would
        await asyncio.sleep(1.2)
        assert heard.codes == [1006]
        theirs.close()

    run(main)


PONG = b"\x8a\x80\0\0\0\0"


def test_who_has_answered_once_is_judged_by_pings(run: Run) -> None:
    """Its pong is enough for as long as it comes; without it the socket ends."""

    async def main() -> None:
        heard, theirs, _, _ = await silent_socket(Pings(0.2, 0.2))
        for _ in range(10):
            theirs.send(PONG)
            await asyncio.sleep(0.1)
        assert heard.codes == []
        async with asyncio.timeout(10):
            while not heard.codes:  # noqa: ASYNC110  # there is no event to wait for
                await asyncio.sleep(0.01)
        assert heard.codes == [1006]
        assert heard.n_unanswered == 0
        theirs.close()

    run(main)


def test_a_pong_nobody_asked_for_is_no_answer(run: Run) -> None:
    """RFC 6455 allows it as a sign of life, which is no promise to answer."""

    async def main() -> None:
        heard, theirs, transport, _ = await silent_socket(Pings(0.3, 0.1))
        theirs.send(PONG)
        await asyncio.sleep(1.5)
        assert heard.codes == []
        transport.abort()
        theirs.close()
        await asyncio.sleep(0.01)

    run(main)


def test_who_never_answers_is_judged_by_its_silence(run: Run) -> None:
    """Never while nobody says how long that may be; then behind so long without an octet."""

    async def main() -> None:
        heard, theirs, _, _ = await silent_socket(Pings(0.05, 0.05))
        await asyncio.sleep(0.6)
        assert heard.codes == []
        assert heard.n_unanswered == 1
        heard.may_be_silent_s = 0.5
        for _ in range(10):
            theirs.send(TEXT)
            await asyncio.sleep(0.1)
        assert heard.codes == []
        async with asyncio.timeout(10):
            while not heard.codes:  # noqa: ASYNC110  # there is no event to wait for
                await asyncio.sleep(0.01)
        theirs.close()

    run(main)


def test_an_action_comes_once_and_may_be_cancelled(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time, late behind what is read first, or never."""
    monkeypatch.setattr(deadline, "READ_FIRST_S", 0.05)

    async def main() -> None:
        done: list[str] = []
        Deadline(0.02, lambda: done.append("in time"))
        Deadline(0.02, lambda: done.append("never")).cancel()
        await asyncio.sleep(0.1)
        assert done == ["in time"]
        Deadline(0.02, lambda: done.append("late"))
        cancelled = Deadline(0.02, lambda: done.append("never"))
        time.sleep(0.4)  # noqa: ASYNC251  # as SIGSTOP would
        await asyncio.sleep(0.01)
        assert done == ["in time"]
        cancelled.cancel()
        await asyncio.sleep(0.1)
        assert done == ["in time", "late"]

    run(main)
