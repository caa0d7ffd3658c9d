"""Both tracks of a stream in its own time: kept together over holds, never held in order."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pybase64 import b64encode

from mediaserver.carrier import CallPlan
from mediaserver.carrier.plan import TRACKS
from mediaserver.carrier.script import cues
from mediaserver.media.frames import Frame, Int16Array
from mediaserver.processors.api import Call, Filter, processor
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import ProcessorSetting, Settings
from telephony_codecs import codec
from tests.server.playbots import VirtualStream

RATE_HZ = 8000
FRAME = RATE_HZ // 50
MINUTE_S = 60.0
HOLD = (20.0, 30.0)
TOGETHER_S = 0.040
# Every two seconds both sides say the same click, at the same time.
CLICK_EVERY_S = 2.0
PAIRS: dict[str, list[Int16Array]] = {}
SEEN: list[Frame] = []


@processor
async def keeps_pairs(call: Call) -> None:
    """Notes both tracks side by side."""
    PAIRS[call.id] = [block async for block in call.pairs()]


class Notes(Filter):
    """Notes frames as they pass."""

    def process(self, frame: Frame) -> Frame:
        SEEN.append(frame)
        return frame


@asynccontextmanager
async def service_of(*names: str, **parameters: object) -> AsyncIterator[SingleProcessService]:
    """A service that listens to no port, with these processors."""
    chain = tuple(
        ProcessorSetting(name, {**parameters, "layout": "tracks"} if name == "record" else {})
        for name in (each if each == "record" else f"{__name__}:{each}" for each in names)
    )
    service = SingleProcessService(Settings(processors=chain, reconnect_grace_s=0))
    yield service
    await service.close()


def payload_at(at_s: float) -> str:
    """20 ms of quiet noise, a click at its beginning where one is due."""
    samples = np.random.default_rng(round(at_s * 50)).integers(-50, 50, FRAME).astype(np.int16)
    if round(at_s * 50) % round(CLICK_EVERY_S * 50) == 0:
        samples[:8] = 20000
    return b64encode(codec("PCMU").encoder().encode(samples)).decode()


async def say_a_minute(
    service: SingleProcessService, plan: CallPlan, recording: Path, *, jitter_s: float
) -> None:
    """Both tracks for a minute, each chunk late by up to ``jitter_s``, order kept."""
    stream = VirtualStream(service, plan)
    dice = np.random.default_rng(5)
    latest_s = 0.0
    for n, cue in enumerate(cues(plan, MINUTE_S)):
        latest_s = max(latest_s, cue.at_s + dice.uniform(0, jitter_s))
        stream.media(latest_s, cue.chunk, payload_at(cue.at_s), cue.track)
        if n % 50 == 0:  # the minute takes half a second, and the disk its own time
            await on_disk(recording, latest_s - 1.0)
    stream.stop(MINUTE_S)
    await until(lambda: not service.n_calls)


async def until(condition: Callable[[], bool]) -> None:
    """Let others work until ``condition()`` holds; there is no event for it."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.001)


async def on_disk(path: Path, seconds: float) -> None:
    """Wait until a recording is so long."""
    n_octets = round(2 * RATE_HZ * seconds)
    if n_octets > 0:
        await until(lambda: path.exists() and path.stat().st_size >= n_octets)


def clicks_s(samples: Int16Array) -> npt.NDArray[np.float64]:
    """When each click begins."""
    loud = np.flatnonzero(samples > 10000)
    return np.asarray(loud[np.diff(loud, prepend=-FRAME) > FRAME // 2] / RATE_HZ)


def assert_together(inbound: Int16Array, outbound: Int16Array) -> None:
    """Every click of both tracks lies within 40 ms of where it was said, and of the other's."""
    heard, other = clicks_s(inbound), clicks_s(outbound)
    said = np.arange(0, MINUTE_S, CLICK_EVERY_S)
    held = (said >= HOLD[0]) & (said < HOLD[1])
    assert len(heard) == len(said)
    assert len(other) == len(said) - held.sum()
    assert np.abs(heard - said).max() <= TOGETHER_S
    assert np.abs(other - heard[~held]).max() <= TOGETHER_S
    # The hold itself is silence, not left out.
    middle = slice(round((HOLD[0] + 0.5) * RATE_HZ), round((HOLD[1] - 0.5) * RATE_HZ))
    assert not outbound[middle].any()


@pytest.mark.parametrize("jitter_s", [0.0, 0.03])
@pytest.mark.parametrize("numbering", ["per_track", "shared"])
async def test_a_hold_does_not_move_the_tracks_apart(
    tmp_path: Path, numbering: str, jitter_s: float
) -> None:
    """A minute of both tracks, one on hold for ten seconds: recorded and paired within 40 ms."""
    plan = CallPlan(
        tracks="both",
        seconds=MINUTE_S,
        holds=[("outbound", *HOLD)],
        chunk_numbering=numbering,  # type: ignore[arg-type]  # one of the two
    )
    async with service_of("record", "keeps_pairs", directory=str(tmp_path)) as service:
        stem = plan.call_control_id.replace(":", "_")
        await say_a_minute(service, plan, tmp_path / f"{stem}-inbound.wav", jitter_s=jitter_s)
    pairs = np.concatenate(PAIRS.pop(plan.call_control_id))
    assert_together(pairs[:, 0], pairs[:, 1])
    recorded = {}
    for track in TRACKS["both"]:
        with wave.open(str(tmp_path / f"{stem}-{track}.wav")) as file:
            assert file.getframerate() == RATE_HZ
            recorded[track] = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert_together(recorded["inbound"], recorded["outbound"])


@pytest.mark.parametrize("numbering", ["per_track", "shared"])
async def test_an_ordered_stream_is_never_held(numbering: str) -> None:
    """Each chunk's frame has passed the chain when the message has been read; no timer is set."""
    plan = CallPlan(
        tracks="both",
        seconds=4.0,
        first_chunk=7,
        chunk_numbering=numbering,  # type: ignore[arg-type]  # one of the two
    )
    SEEN.clear()
    async with service_of("Notes") as service:
        stream = VirtualStream(service, plan)
        session = stream.connection.session
        assert session is not None
        for n, cue in enumerate(cues(plan, 4.0), 1):
            stream.media(cue.at_s, cue.chunk, payload_at(cue.at_s), cue.track)
            assert len(SEEN) == n
            assert SEEN[-1].track == cue.track
            assert session.inbound.next_at is None
        counted = session.inbound.reorder
        assert (counted.received, counted.delivered, counted.missing) == (400, 400, 0)
        stream.stop(4.0)
    assert [frame.index for frame in SEEN if frame.track == "outbound"] == list(range(200))


async def test_a_gap_is_the_one_thing_waited_for() -> None:
    """What lies behind a missing chunk is held, for 60 ms by the stream's own time, no more."""
    SEEN.clear()
    async with service_of("Notes") as service:
        stream = VirtualStream(service, CallPlan())
        session = stream.connection.session
        assert session is not None
        stream.media(0.00, 1, payload_at(1))
        stream.media(0.04, 3, payload_at(3))
        assert len(SEEN) == 1
        assert session.inbound.next_at == pytest.approx(stream.origin + 0.10)
        session.inbound.poll(stream.origin + 0.099)
        assert len(SEEN) == 1
        session.inbound.poll(stream.origin + 0.101)
        assert [frame.lost for frame in SEEN] == [False, True, False]
        assert session.inbound.next_at is None
        stream.stop(0.2)
