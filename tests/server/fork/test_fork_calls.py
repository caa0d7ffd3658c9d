"""Forked calls over real UDP: what processors hear, and what is left when they end."""

from __future__ import annotations

import asyncio
import os
import sys
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mediaserver.carrier import Audio, CallPlan, Faults, place_call
from mediaserver.carrier.fork import ForkedTrack, send_tracks
from mediaserver.carrier.fork.packets import strep
from mediaserver.server.fork.source import QUIET_S
from mediaserver.settings import ProcessorSetting
from mediaserver.wire.rates import LIMITS, Limit
from telephony_codecs import codec
from tests.server.conftest import Serving, bot, serving
from tests.server.fork.forking import (
    RATE_HZ,
    Peer,
    apart_ms,
    both,
    impulses,
    quiet,
    receiving,
    session_of,
)
from tests.server.watching import soon

__all__ = ["serving"]

HERE = Path(__file__).parent
# How many calls at once, and how long; FORKED=50 is the size that was promised.
CALLS = int(os.environ.get("FORKED", "6"))
SECONDS = 20.0 if CALLS >= 50 else 3.0
ROUGH = Faults(drop=0.02, jitter_s=0.04, reorder_window=3)
LEG = "428c31b6-7af4-4bcb-b7f5-5013ef9657c1"


def heard(call_id: str, track: str = "inbound") -> list[Any]:
    """The frames that the bot ``listen`` has noted."""
    noted = sys.modules["bots"].SEEN.get(call_id, []) if "bots" in sys.modules else []
    return [frame for frame in noted if frame.track == track]


def samples_of(call_id: str, track: str = "inbound") -> Any:
    return np.concatenate([frame.samples for frame in heard(call_id, track)])


def recorded(directory: Path, rx: int) -> Any:
    """Both channels: the caller, and what was sent to them."""
    (file,) = directory.glob(f"fork-{rx}-*.wav")
    with wave.open(str(file)) as clip:
        return np.frombuffer(clip.readframes(clip.getnframes()), np.int16).reshape(-1, 2).T


@pytest.mark.timeout(240)
async def test_recordings_of_rough_forks_are_aligned(tmp_path: Path) -> None:
    """Loss is concealed and counted, both tracks lie within 20 ms, and nothing is left open."""
    record = ProcessorSetting("record", {"directory": str(tmp_path)})
    plan = CallPlan(audio=Audio(impulses(2.0), RATE_HZ), seconds=SECONDS, faults=ROUGH)
    async with receiving(record, n_pairs=CALLS, fork_idle_s=2.0) as receiver:
        pairs = receiver.listen()
        await asyncio.gather(
            *(send_tracks(replace(plan, seed=n), both(*pair)) for n, pair in enumerate(pairs))
        )
        summaries = [session.stats() for session in receiver._calls.sessions.values()]
        await quiet(receiver)
        assert receiver.counters["forks"] == CALLS
    n_sent = CALLS * 2 * round(SECONDS * 50)
    lost = sum(summary.lost for summary in summaries)
    assert 0.005 * n_sent < lost < 0.06 * n_sent
    assert sum(summary.concealed for summary in summaries) == lost
    apart = []
    for rx, _ in pairs:
        one, other = recorded(tmp_path, rx)
        # As long as what was said, but for what was lost at the very ends.
        assert min(len(one), len(other)) / RATE_HZ == pytest.approx(SECONDS, abs=0.25)
        apart.append(abs(apart_ms(one, other)))
    print(f"{CALLS} calls, {lost} of {n_sent} lost, at most {max(apart):.1f} ms apart")
    assert max(apart) <= 20


async def test_a_bot_that_listens_is_the_same_over_both(serving: Serving) -> None:
    """Over a WebSocket and over a fork it hears the same samples in the same frames."""
    plan = CallPlan(seconds=0.6, tracks="both", audio=Audio(impulses(0.6), RATE_HZ))
    async with serving(bot("listen")) as server:
        await place_call(server.url, plan)
    async with receiving(bot("listen")) as receiver:
        (pair,) = receiver.listen()
        await send_tracks(plan, both(*pair))
        call_id = (await session_of(receiver)).call_id
        await quiet(receiver)
    over_websocket, over_fork = (heard(each) for each in (plan.call_control_id, call_id))
    assert [frame.index for frame in over_fork] == list(range(30))
    for one, other in zip(over_websocket, over_fork, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
    starts = [frame.start for frame in over_fork]
    assert np.diff(starts) == pytest.approx([0.02] * 29, abs=1e-6)
    assert len(heard(call_id, "outbound")) == 30


@pytest.mark.parametrize("isolate", [False, True], ids=["inline", "isolated"])
async def test_there_is_no_way_back(tmp_path: Path, isolate: bool) -> None:
    """Each play, mark and message is refused by a clear error; the call goes on."""
    notes = tmp_path / "notes"
    talker = ProcessorSetting(f"{HERE}/forkbots.py:talker", {"notes": str(notes)})
    async with receiving(talker, isolate=isolate, fork_idle_s=30) as receiver:
        (pair,) = receiver.listen()
        with Peer(pair[0]) as peer:
            peer.say(3)
            await soon(lambda: notes.exists() and bool(notes.read_text()), 60)
            session = await session_of(receiver)
            assert session.stats().processor_errors == 0
    assert notes.read_text().split() == ["ListenOnlyError"] * 6


async def test_filters_run_and_one_that_plays_is_bypassed() -> None:
    """A filter changes what is heard behind it; an echo gets an error with each frame."""
    halves = ProcessorSetting(f"{HERE}/forking.py:Halves")
    chain = (ProcessorSetting("echo"), halves, bot("listen"))
    async with receiving(*chain, fork_idle_s=30) as receiver:
        (pair,) = receiver.listen()
        with Peer(pair[0]) as peer:
            peer.say(20)
            session = await session_of(receiver)
            await soon(lambda: len(heard(session.call_id)) == 20, 20)
            assert session.stats().processor_errors == 1
    loudest = max(abs(int(frame.samples.min())) for frame in heard(session.call_id))
    assert loudest == 32124 // 2


@pytest.mark.parametrize(
    ("name", "rate_hz", "types"),
    [
        ("PCMU", 8000, {}),
        ("PCMA", 8000, {}),
        ("G722", 16000, {}),
        ("OPUS", 16000, {"96": "OPUS/48000"}),
        ("L16", 16000, {"96": "L16/16000"}),
    ],
)
async def test_each_codec_is_heard(name: str, rate_hz: int, types: dict[str, str]) -> None:
    """The static payload types by themselves, others as the setting says; L16 is big-endian."""
    payloads = None
    if name == "L16":
        clip = np.tile(np.array([1000, -1000], ">i2"), 160).tobytes()
        payloads = [clip]
    plan = CallPlan(codec=name, rate_hz=rate_hz, seconds=0.5, payloads=payloads)
    async with receiving(bot("listen"), fork_payload_types=types) as receiver:
        (pair,) = receiver.listen()
        await send_tracks(plan, both(*pair))
        session = await session_of(receiver)
        await quiet(receiver)
    summary = session.stats()
    assert (summary.codec, summary.rate_hz, summary.lost) == (name, rate_hz, 0)
    frames = heard(session.call_id)
    assert sum(frame.duration for frame in frames) == pytest.approx(0.5)
    assert all(frame.rate == rate_hz for frame in frames)
    if name == "L16":
        assert set(samples_of(session.call_id)) == {1000, -1000}


async def test_over_ipv6() -> None:
    """As over IPv4."""
    async with receiving(bot("listen"), host="::1", fork_host="::1") as receiver:
        rx, tx = receiver.forks.open("v3:six")
        assert rx.startswith("udp:[::1]:")
        plan = CallPlan(seconds=0.4)
        await send_tracks(plan, [ForkedTrack("inbound", rx), ForkedTrack("outbound", tx)])
        session = await session_of(receiver)
        await quiet(receiver)
    assert (session.call_id, len(heard("v3:six")), session.n_refused) == ("v3:six", 20, 0)


async def test_the_old_form_with_strep() -> None:
    """One port for both tracks of any number of calls: each leg is a call of its own."""
    other = LEG.replace("428c", "0000")
    async with receiving(bot("listen")) as receiver:
        ((rx, _),) = receiver.listen()
        to = f"udp:127.0.0.1:{rx}"
        plan = CallPlan(seconds=0.4)
        await asyncio.gather(
            send_tracks(plan, [ForkedTrack("inbound", to, LEG), ForkedTrack("outbound", to, LEG)]),
            send_tracks(replace(plan, seed=1), [ForkedTrack("outbound", to, other)]),
        )
        assert set(receiver._calls.sessions) == {LEG, other}
        await quiet(receiver)
    assert [len(heard(LEG)), len(heard(LEG, "outbound"))] == [20, 20]
    assert [len(heard(other)), len(heard(other, "outbound"))] == [0, 20]


async def test_what_is_of_another_source_or_malformed_is_dropped() -> None:
    """Each kind is counted, at the call and in all; of the call's own audio nothing is lost."""
    async with receiving(bot("listen"), fork_idle_s=30) as receiver:
        ((rx, _),) = receiver.listen()
        with Peer(rx) as peer, Peer(rx) as stranger, Peer(rx, ssrc=8) as other:
            peer.say(5)
            session = await session_of(receiver)
            stranger.say(4)
            peer.raw(other.packet(3, b"\0" * 160))
            for malformed in (b"", b"x", b"\x80" * 11, b"\x40" * 40, b"\x80\xc8" + bytes(20)):
                peer.raw(malformed)
            peer.raw(strep(LEG, "inbound")[:20])
            peer.say(5)
            await soon(lambda: len(heard(session.call_id)) == 10, 20)
            await soon(lambda: receiver.counters["fork_refused.strep_length"] == 1, 20)
        refused = {n: v for n, v in receiver.counters.items() if n.startswith("fork_refused.")}
        assert session.n_refused == 10
        assert session.stats().lost == 0
    assert refused == {
        "fork_refused.source": 4,
        "fork_refused.ssrc": 1,
        "fork_refused.too_short": 3,
        "fork_refused.version": 1,
        "fork_refused.rtcp": 1,
        "fork_refused.strep_length": 1,
    }


async def test_keys_and_silence_are_no_loss() -> None:
    """Packets without audio are none that are missing; a gap in the timestamps is silence."""
    async with receiving(bot("listen"), fork_idle_s=30) as receiver:
        ((rx, _),) = receiver.listen()
        with Peer(rx) as peer:
            peer.say(10)
            session = await session_of(receiver)
            await soon(lambda: len(heard(session.call_id)) == 10, 20)
            peer.say(3, payload_type=101)
            peer.say(5)
            await soon(lambda: len(heard(session.call_id)) == 15, 20)
            peer.skip(2)
            peer.say(1)
            await soon(lambda: len(heard(session.call_id)) == 18, 20)
        summary = session.stats()
    assert (summary.lost, summary.concealed) == (2, 2)
    assert receiver.counters["fork_refused.payload_type"] == 3
    assert [frame.lost for frame in heard(session.call_id)][15:] == [True, True, False]


async def test_a_codec_of_another_rate_keeps_the_calls_rate() -> None:
    """Payload types change in the middle of a call; processors notice nothing."""
    g722 = codec("G722").encoder().encode(np.zeros(320, np.int16))
    async with receiving(bot("listen"), fork_idle_s=30) as receiver:
        ((rx, _),) = receiver.listen()
        with Peer(rx) as peer:
            peer.say(12)
            session = await session_of(receiver)
            for number in range(13, 20):
                peer.raw(peer.packet(number, g722, payload_type=9))
            await soon(lambda: len(heard(session.call_id)) == 19, 20)
        assert session.n_refused == 0
    assert {frame.rate for frame in heard(session.call_id)} == {8000}


async def test_forks_come_from_named_networks_only() -> None:
    """Others cannot begin one, and are counted."""
    for networks, n_calls in ((("192.0.2.0/24", "2001:db8::/32"), 0), (("127.0.0.0/8",), 1)):
        async with receiving(bot("listen"), fork_from=networks, fork_idle_s=30) as receiver:
            ((rx, _),) = receiver.listen()
            with Peer(rx) as peer:
                peer.say(5)
                if n_calls:
                    await session_of(receiver)
                else:
                    await soon(lambda: receiver.counters["fork_refused.not_allowed"] == 5, 20)
            assert receiver.n_calls == n_calls


async def test_another_sender_goes_on_where_one_has_fallen_silent() -> None:
    """As behind a transfer: the same call, another SSRC and port, and the pause is silence."""
    async with receiving(bot("listen"), fork_idle_s=30) as receiver:
        ((rx, _),) = receiver.listen()
        with Peer(rx) as peer, Peer(rx, ssrc=99) as other:
            peer.say(15)
            session = await session_of(receiver)
            await soon(lambda: len(heard(session.call_id)) == 15, 20)
            await asyncio.sleep(QUIET_S + 0.1)
            other.skip(5000)
            other.say(10)
            await soon(lambda: len(heard(session.call_id)) == 25, 20)
        assert receiver.counters["calls"] == 1
    frames = heard(session.call_id)
    assert frames[15].start - frames[14].start > QUIET_S - 0.5
    assert session.stats().lost == 0


async def test_a_flood_of_its_own_stream_ends_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far more packets than a call has are counted, and it is over."""
    monkeypatch.setitem(LIMITS, "media", Limit(1, 10))
    async with receiving(bot("events"), fork_idle_s=30) as receiver:
        ((rx, _),) = receiver.listen()
        with Peer(rx) as peer:
            peer.say(100)
            await session_of(receiver)
            await soon(lambda: receiver.counters["fork_refused.too_many"] == 1, 20)
            await quiet(receiver)


async def test_a_full_or_draining_server_takes_no_fork() -> None:
    """What comes is counted as refused; the call that is there goes on."""
    async with receiving(bot("listen"), n_pairs=2, max_calls=1, fork_idle_s=30) as receiver:
        (first, _), (second, _) = receiver.listen()
        with Peer(first) as one, Peer(second) as two:
            one.say(5)
            session = await session_of(receiver)
            two.say(5)
            await soon(lambda: receiver.counters["refused_full"] == 1, 20)
            one.say(5)
            await soon(lambda: len(heard(session.call_id)) == 10, 20)
        assert receiver.n_calls == 1


async def test_ports_that_nobody_forks_to_are_given_back() -> None:
    """A call whose fork never comes holds no port for ever, and its range no call out."""
    async with receiving(fork_idle_s=1.0) as receiver:
        receiver.forks.open("v3:never")
        assert receiver.forks.n_ports == 2
        await soon(lambda: receiver.forks.n_ports == 0, 20)
        receiver.forks.open("v3:next")
        assert receiver.forks.n_ports == 2


async def test_what_a_call_leaves_is_not_taken_for_the_next() -> None:
    """A call that was ended here while its packets go on does not begin again."""
    async with receiving(bot("returns"), on_return="hangup", fork_idle_s=30) as receiver:
        ((rx, _),) = receiver.listen()
        with Peer(rx) as peer:
            for _ in range(10):
                peer.say(5)
                await asyncio.sleep(0.05)
            await soon(lambda: receiver.counters["fork_refused.after_end"] > 10, 20)
        assert receiver.counters["calls"] == 1
