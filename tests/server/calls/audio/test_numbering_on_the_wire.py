"""Streams whose chunk numbers cannot be right: heard all the same, and said once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mediaserver.carrier import CallPlan
from mediaserver.processors.api import Hint
from mediaserver.server.calls.session import Session
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import ProcessorSetting, Settings
from tests.server.calls.audio import test_stalls as shared
from tests.server.playbots import VirtualStream

SECONDS = 12
Numbers = Callable[[int], tuple[int, int]]
"""Numbers of the n-th chunk of the inbound and of the outbound track."""


def hints_of(session: Session, now: float) -> list[Hint]:
    diagnostics = session.watch.diagnostics
    return list(diagnostics.look(session.inbound, session.outbound.playout, now))


@pytest.mark.parametrize(
    ("numbers", "numbering", "tracks"),
    [
        (lambda n: (7, 7 + 0 * n), "auto", ("inbound",)),
        (lambda n: (2 * n, 2 * n), "auto", ("inbound",)),
        (lambda n: (5000 - n, 5000 - n), "auto", ("inbound",)),
        (lambda n: (20 * n, 20 * n), "auto", ("inbound",)),
        (lambda n: (7, 7 + 0 * n), "auto", shared.SIDES),
        (lambda n: (2 * n, 2 * n + 1), "per_track", shared.SIDES),
        (lambda n: (n, n), "shared", shared.SIDES),
    ],
    ids=["equal", "every second", "falling", "times", "equal on both", "shared", "per track"],
)
async def test_numbers_that_are_none_are_ignored_within_a_second(
    numbers: Numbers, numbering: str, tracks: tuple[str, ...]
) -> None:
    """Each frame from the first second on is delivered, time is right, a hint comes once."""
    shared.SEEN.clear()
    chain = (ProcessorSetting(f"{shared.__name__}:Notes"),)
    settings = Settings(
        processors=chain,
        reconnect_grace_s=0,
        chunk_numbering=numbering,  # type: ignore[arg-type]  # one of them
    )
    service = SingleProcessService(settings)
    stream = VirtualStream(service, CallPlan(tracks="both", seconds=SECONDS))
    session = stream.connection.session
    assert session is not None
    said = []
    for n in range(SECONDS * 50):
        for track, number in zip(shared.SIDES, numbers(n), strict=True):
            at = n / 50
            while (due := session.inbound.next_at) is not None and due <= stream.origin + at:
                session.inbound.poll(due)
            if track in tracks:
                stream.media(at, number, shared.PLAIN, track)
        if n % 50 == 49:
            said += hints_of(session, stream.origin + n / 50)
    for track in tracks:
        came = [f for f in shared.SEEN if f.track == track and not f.lost]
        assert len(came) >= (SECONDS - 1) * 50
        last = [f for f in shared.SEEN if f.track == track][-1]
        assert last.start + last.duration == pytest.approx(SECONDS, abs=0.12)
    assert [hint.name for hint in said] == ["numbering"]
    stream.stop(SECONDS)
    await service.close()


async def test_arrival_says_nothing_and_ignores_numbers_from_the_start() -> None:
    """With ``chunk_numbering`` arrival not one frame is lost, and there is nothing to say."""
    shared.SEEN.clear()
    chain = (ProcessorSetting(f"{shared.__name__}:Notes"),)
    service = SingleProcessService(
        Settings(processors=chain, reconnect_grace_s=0, chunk_numbering="arrival")
    )
    stream = VirtualStream(service, CallPlan(seconds=4))
    session = stream.connection.session
    assert session is not None
    for n in range(200):
        stream.media(n / 50, 7, shared.PLAIN)
    assert len(shared.SEEN) == 200
    assert hints_of(session, stream.origin + 4.0) == []
    stream.stop(4.0)
    await service.close()
