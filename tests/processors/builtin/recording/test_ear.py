"""Recordings of random calls against what the fake Telnyx's caller heard and said.

``RECORDINGS=200 pytest tests/processors/builtin/recording/test_ear.py`` places so many calls; the
usual run a few. Compared is each stretch that the ear heard: where the recording has it (the lag
at which the two are most alike), and how much alike they are. What the ear did not hear has to be
silent in the recording. A stretch may be off by 20 ms, and by what the event loop, which carries
both sides of these calls, was late meanwhile; a stretch in which it was late by more than that has
a hole at another place, and need not be alike.
"""

from __future__ import annotations

import asyncio
import os
import random
import wave
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.carrier.plan import Faults, at_rate, can_encode, speech
from mediaserver.processors.builtin.recording.sidecar import decode_sidecar
from mediaserver.settings import ProcessorSetting, Settings
from telephony_codecs import resample_clip
from tests.processors.builtin.recording import recordbots
from tests.server.watching import soon

N = int(os.environ.get("RECORDINGS", "8"))
AT_ONCE = 8
WITHIN_S = 0.02
REACH_S = 0.15
# What a codec leaves of half a second of speech, at least, and of most: OPUS and AMR-WB do not keep
# the wave, least of all that of an s.
ALIKE = {"OPUS": 0.7, "AMR-WB": 0.6}
MOSTLY_ALIKE = {"OPUS": 0.92, "AMR-WB": 0.85}
# The server's encoder begins anew behind a clear, and the far end's decoder does not: half a
# second is then no better.
BEHIND_CLEAR = {"OPUS": 0.4, "AMR-WB": 0.2, "G722": 0.2}
SECONDS = 3.6 if N <= 8 else 5.0
CODECS = ("PCMU", "PCMA", "G722", "OPUS", "L16", "AMR-WB")
LEFT_WITHIN_S = 0.06
STALL = (1.0, 1.2)

Floats = npt.NDArray[np.float64]


class Found(NamedTuple):
    """How one stretch of the ear, or of the caller, is in the recording."""

    at: float
    lag_s: float
    alike: float


class Lateness:
    """How late the event loop was, and when."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []

    async def watch(self) -> None:
        while True:
            due = monotonic() + 0.005
            await asyncio.sleep(0.005)
            self._late.append((due, monotonic() - due))

    def between(self, start: float, end: float) -> float:
        """The most of a time, in seconds; what came before still moves what follows."""
        return max((late for at, late in self._late if start - 0.5 <= at <= end), default=0.0)

    def spoils(self, start: float) -> bool:
        """Whether half a second from here has a hole."""
        return self.between(start, start + 0.5) > WITHIN_S


def plan_of(n: int) -> CallPlan:
    """Random calls: all codecs, loss, jitter, order, a stall, a socket lost and replaced."""
    dice = random.Random(n)
    codec = CODECS[n % len(CODECS)]
    faults = (
        Faults(),
        Faults(drop=0.03, jitter_s=0.03),
        Faults(stall=STALL),
        Faults(reorder_window=3, duplicate=0.05),
    )[n // 2 % 4]
    return CallPlan(
        codec=codec,
        rate_hz=16000 if codec == "L16" else None,
        send_codec=None if codec != "AMR-WB" or can_encode(codec) else "PCMU",
        seconds=SECONDS,
        linger_s=0.0,
        hang_up_at_s=SECONDS + dice.uniform(0.1, 0.5),
        faults=faults,
        reconnect_at_s=SECONDS * dice.uniform(0.4, 0.65)
        if n % 3 == 1 and not faults.stall
        else None,
        call_control_id=f"v3:ear-{n}",
        seed=n,
    )


class Placed(NamedTuple):
    """A call that is over: where stream time began in its own clock."""

    call: FakeCall
    origin_s: float
    began_at: float


async def place(server: MediaServer, plan: CallPlan) -> Placed:
    sessions = server.service._calls.sessions  # type: ignore[attr-defined]  # of one process
    async with FakeCall.connect(server.url, plan) as call:
        speaking = asyncio.create_task(call.speak())
        await soon(lambda: plan.call_control_id in sessions, 20.0)
        began_at = sessions[plan.call_control_id].began_at
        await speaking
    return Placed(call, began_at - (monotonic() - call.now()), began_at)


@asynccontextmanager
async def serving(folder: Path, *, isolate: bool) -> Any:
    record = ProcessorSetting("record", {"directory": str(folder)})
    talks = ProcessorSetting(f"{recordbots.__file__}:talks")
    settings = Settings(
        port=0,
        processors=(record, talks),
        isolate=isolate,
        reconnect_grace_s=5.0,
        shed_lag_ms=None,  # a busy machine takes these calls all the same
    )
    async with MediaServer(settings) as server:
        yield server


class Recorded(NamedTuple):
    """The channels of a recording."""

    left: Floats
    right: Floats
    rate_hz: int


def recorded(folder: Path, plan: CallPlan) -> Recorded:
    stem = plan.call_control_id.replace(":", "_")
    sidecar = decode_sidecar((folder / f"{stem}.json").read_bytes())
    assert sidecar.ended
    assert sidecar.lost_s == 0
    with wave.open(str(folder / f"{stem}.wav")) as file:
        rate_hz = file.getframerate()
        both = np.frombuffer(file.readframes(10**7), "<i2").astype(np.float64).reshape(-1, 2)
    return Recorded(both[:, 0], both[:, 1], rate_hz)


def located(part: Floats, at: float, channel: Floats, rate_hz: int) -> Found:
    """Where a part that belongs at a stream time is in a channel."""
    reach = round(REACH_S * rate_hz)
    first = round(at * rate_hz)
    around = np.zeros(len(part) + 2 * reach)
    low, high = max(first - reach, 0), min(first + len(part) + reach, len(channel))
    if high > low:
        around[low - first + reach : high - first + reach] = channel[low:high]
    n_fft = 1 << (len(around) + len(part)).bit_length()
    products = np.fft.irfft(np.fft.rfft(around, n_fft) * np.conj(np.fft.rfft(part, n_fft)), n_fft)
    products = products[: 2 * reach + 1]
    energy = np.concatenate([[0.0], np.cumsum(around**2)])
    energies = energy[len(part) :][: 2 * reach + 1] - energy[: 2 * reach + 1]
    likeness = products / np.sqrt(np.maximum(energies * float(part @ part), 1.0))
    best = int(np.argmax(likeness))
    return Found(at, (best - reach) / rate_hz, float(likeness[best]))


class Part(NamedTuple):
    """A stretch of what the ear heard.

    Attributes:
        at: stream time at which it began.
        began: stream time at which the sound did that it is part of.
        is_cleared: part of it is less than half a second behind a clear.
    """

    at: float
    began: float
    is_cleared: bool
    samples: Floats


def heard_parts(placed: Placed, rate_hz: int) -> Iterator[Part]:
    """What the ear heard, in stretches of up to half a second.

    What plays on when its socket is lost is in nobody's ledger: it is left out.
    """
    call, lost_at = placed.call, placed.call.plan.reconnect_at_s
    ear, ended_s = call.intake.ear, call.record.ended_s or 0.0
    for run in ear.runs:
        end_s = min(run.end_s, ended_s)
        at_s = run.start_s
        while end_s - at_s >= 0.2:
            until_s = min(at_s + 0.5, end_s)
            is_known = lost_at is None or lost_at > until_s + 0.3 or lost_at < at_s - 0.5
            part = ear.between(at_s, until_s)
            samples = resample_clip(part, ear.rate_hz, rate_hz).astype(np.float64)
            if is_known and np.sqrt(np.mean(samples**2)) > 200:
                began_s = run.start_s - placed.origin_s
                is_cleared = any(at_s - 0.5 <= cut.at_s < until_s for cut in ear.cuts)
                yield Part(at_s - placed.origin_s, began_s, is_cleared, samples)
            at_s = until_s


def unheard(placed: Placed, right: Floats, rate_hz: int, slack_s: float) -> Floats:
    """What the recording has where the ear heard nothing."""
    left_over = right.copy()
    for run in placed.call.intake.ear.runs:
        first = round((run.start_s - placed.origin_s - slack_s) * rate_hz)
        last = round((run.end_s - placed.origin_s + slack_s) * rate_hz)
        left_over[max(first, 0) : max(last, 0)] = 0
    return left_over


def said_parts(rate_hz: int) -> Iterator[tuple[float, Floats]]:
    """What the caller said, by half seconds that are loud."""
    said = at_rate(speech(), rate_hz).astype(np.float64)
    half = rate_hz // 2
    for at in range(0, round(SECONDS * rate_hz) - half, half):
        part = said[at : at + half]
        if np.sqrt(np.mean(part**2)) > 300:
            yield at / rate_hz, part


def check_right(placed: Placed, found: Recorded, late: Lateness) -> list[Found]:
    plan = placed.call.plan
    parts, even = [], []
    for part in heard_parts(placed, found.rate_hz):
        each = located(part.samples, part.at, found.right, found.rate_hz)
        parts.append(each)
        begins = placed.began_at + part.began  # the way of its first message moves the whole sound
        slack_s = WITHIN_S + late.between(begins - 0.5, begins + 0.1)
        told = (plan.call_control_id, plan.out_codec, each, slack_s)
        assert abs(each.lag_s) <= slack_s, told
        if late.spoils(placed.began_at + part.at):
            continue
        even.append(each.alike)
        least = (BEHIND_CLEAR if part.is_cleared else ALIKE).get(plan.out_codec, 0.95)
        assert each.alike >= least, told
    mostly = MOSTLY_ALIKE.get(plan.out_codec, 0.95)
    assert not even or np.quantile(even, 0.7) >= mostly, parts
    slack_s = WITHIN_S + late.between(placed.began_at, placed.began_at + 2 * SECONDS)
    extra = unheard(placed, found.right, found.rate_hz, slack_s)
    if plan.reconnect_at_s is None:  # else some of it played on in the far end's queue
        assert np.abs(extra).max(initial=0.0) < 200, (plan.call_control_id, np.argmax(extra))
    return parts


def check_left(placed: Placed, found: Recorded, late: Lateness) -> list[Found]:
    """Most of what was said is in its place; a lost chunk is not, nor what no socket took."""
    plan = placed.call.plan
    parts = [
        located(part, at - placed.origin_s, found.left, found.rate_hz)
        for at, part in said_parts(found.rate_hz)
        if not late.spoils(placed.began_at + at - placed.origin_s)
    ]
    least = 0.9 * ALIKE.get(plan.codec, 0.95)
    slack_s = LEFT_WITHIN_S + late.between(placed.began_at, placed.began_at + 2 * SECONDS)
    right = [each for each in parts if each.alike >= least and abs(each.lag_s) <= slack_s]
    needed = 0.5 if plan.reconnect_at_s is not None or plan.faults.drop else 0.9
    assert len(right) >= needed * len(parts), (plan.call_control_id, plan.codec, parts)
    return right


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("isolate", [False, True])
async def test_recordings_are_what_was_heard(tmp_path: Path, isolate: bool) -> None:
    """Right is the ear, left the caller, in place; what was cleared is nowhere."""
    late = Lateness()
    watching = asyncio.create_task(late.watch())
    n_calls = N // 4 if isolate else N - N // 4
    placed: list[Placed] = []
    async with serving(tmp_path, isolate=isolate) as server:
        for first in range(0, n_calls, AT_ONCE):
            numbers = range(first, min(n_calls, first + AT_ONCE))
            plans = [plan_of(N - n_calls + n if isolate else n) for n in numbers]
            placed += await asyncio.gather(*(place(server, plan) for plan in plans))
    watching.cancel()
    heard: list[Found] = []
    said: list[Found] = []
    by_codec: dict[str, list[float]] = {}
    for each in placed:
        found = recorded(tmp_path, each.call.plan)
        assert each.call.report().problem is None
        parts = check_right(each, found, late)
        heard += parts
        by_codec.setdefault(each.call.plan.out_codec, []).extend(part.alike for part in parts)
        said += check_left(each, found, late)
    assert len(heard) >= 2 * n_calls
    lags = sorted(abs(each.lag_s) for each in heard)
    print(
        f"{n_calls} calls, {'isolated' if isolate else 'inline'}: {len(heard)} stretches heard,"
        f" off by {1000 * lags[len(lags) // 2]:.1f} ms (median), {1000 * lags[-1]:.1f} ms (most);"
        f" {len(said)} stretches said are in place;"
        f" {sum(len(each.call.intake.ear.cuts) for each in placed)} clears;"
        f" {sum(each.call.record.reconnects for each in placed)} sockets replaced"
    )
    for name, alike in sorted(by_codec.items()):
        print(f"  {name}: alike {min(alike):.3f} at least, {np.median(alike):.3f} median")
