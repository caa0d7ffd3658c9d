"""Playout: queue, pace, rest, live backlog, in virtual time against a far end that plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.ledger import Ledger
from telephony_codecs import codec

if TYPE_CHECKING:
    from tests.media.playout.conftest import Rig

Tone = Callable[..., Int16Array]
ULAW = codec("PCMU")


def test_an_echo_at_another_rate_leaves_at_once(make_rig: type[Rig], make_tone: Tone) -> None:
    """Resampled 20 ms frames too are one message each, none waits."""
    rig = make_rig()
    audio = make_tone(1.0, 16000)
    for at in range(0, len(audio), 320):
        rig.run(at / 16000)
        rig.playout.play(audio[at : at + 320], 16000, rig.now, live=True)
        assert len(rig.payloads) == at // 320 + 1
    assert {len(payload) for payload in rig.payloads} == {160}


@pytest.mark.parametrize("lead_s", [0.02, 0.04, 0.2, 0.5, 2.0])
@pytest.mark.parametrize("rate_hz", [8000, 24000])
def test_a_minute_keeps_its_lead_and_never_runs_dry(
    make_rig: type[Rig], make_tone: Tone, lead_s: float, rate_hz: int
) -> None:
    """Over 60 s the lead stays within its setting, the far end has no gap, no time is lost."""
    rig = make_rig(lead_s=lead_s)
    item = rig.playout.play(make_tone(60.0, rate_hz), rate_hz, 0.0)
    rig.run_out()
    assert max(rig.leads_s) <= lead_s + 1e-5
    assert rig.gaps_s == []
    assert item.state == "played"
    assert item.heard_s(rig.now) == pytest.approx(60.0, abs=0.004)
    assert rig.free_at == pytest.approx(60.0, abs=0.021)


def test_a_source_in_irregular_bursts_never_runs_dry(make_rig: type[Rig], make_tone: Tone) -> None:
    """A streamed source that is ahead of time on average leaves no gap and no seam."""
    rig = make_rig()
    audio = make_tone(20.0)
    item = rig.playout.open(8000, 0.0)
    rng = np.random.default_rng(1)
    at = 0
    while at < len(audio):
        rig.run(max(at / 8000 - 0.3, rig.now))
        n_samples = int(rng.integers(1, 3000))
        rig.playout.feed(item, audio[at : at + n_samples], rig.now)
        at += n_samples
    rig.playout.end(item, rig.now)
    rig.run_out()
    assert rig.gaps_s == []
    assert rig.wire[: len(audio)] == ULAW.encoder().encode(audio)
    assert item.state == "played"
    assert item.heard_s(rig.now) == 20.0


def test_without_a_lead_all_goes_at_once_in_long_messages(
    make_rig: type[Rig], make_tone: Tone
) -> None:
    """Lead None sends a 70 s clip in the instant it is played, in messages of up to 30 s."""
    rig = make_rig(lead_s=None)
    rig.playout.play(make_tone(70.0), 8000, 0.0)
    assert [len(payload) for payload in rig.payloads] == [240000, 240000, 80000]


def test_without_a_lead_one_tick_sends_a_bounded_number(
    make_rig: type[Rig], make_tone: Tone
) -> None:
    """A thousand short plays go out over several ticks of the same instant."""
    rig = make_rig(lead_s=None)
    rig.playout.blocked = True
    for _ in range(120):
        rig.playout.play(make_tone(0.02), 8000, 0.0)
    rig.playout.blocked = False
    rig.playout.tick(0.0)
    assert len(rig.payloads) == 50
    assert rig.playout.next_at == 0.0
    rig.run(0.0)
    assert len(rig.payloads) == 120


def test_encoding_waits_for_its_time(make_rig: type[Rig], make_tone: Tone) -> None:
    """Of a minute only the lead is encoded when it is played."""
    rig = make_rig()
    rig.playout.play(make_tone(60.0), 8000, 0.0)
    assert len(rig.wire) == 1600
    assert rig.playout.queued_s(0.0) == pytest.approx(60.0)


def test_a_rest_waits_for_what_follows(make_rig: type[Rig], make_tone: Tone) -> None:
    """A clip's last 13 ms go out with the next play, without padding between."""
    rig = make_rig()
    audio = make_tone(1.013 + 0.5)
    first, second = np.split(audio, [8104])
    rig.playout.play(first, 8000, 0.0)
    rig.run(0.9)
    rig.playout.play(second, 8000, rig.now)
    rig.run_out()
    assert rig.wire[: len(audio)] == ULAW.encoder().encode(audio)
    assert rig.gaps_s == []


def test_a_rest_is_padded_when_nothing_follows(make_rig: type[Rig], make_tone: Tone) -> None:
    """The last syllable is sent just before the far end runs dry, filled up to 20 ms."""
    rig = make_rig()
    audio = make_tone(1.013)
    item = rig.playout.play(audio, 8000, 0.0)
    rig.run(0.95)
    assert len(rig.wire) == 8000
    rig.run_out()
    assert rig.wire == ULAW.encoder().encode(audio) + b"\xff" * (160 - 104)
    assert rig.gaps_s == []
    assert (item.state, item.heard_s(rig.now)) == ("played", 1.013)


@pytest.mark.parametrize("rate_hz", [16000, 22050, 48000])
def test_the_resamplers_tail_goes_with_the_rest(
    make_rig: type[Rig], make_tone: Tone, rate_hz: int
) -> None:
    """The end of a resampled clip comes out whole: as loud as its beginning, to the last ms."""
    rig = make_rig()
    rig.playout.play(make_tone(1.0, rate_hz), rate_hz, 0.0)
    rig.run_out()
    heard = ULAW.decoder().decode(rig.wire).astype(float)
    assert np.abs(heard[7960:8020]).max() > 8000
    assert np.abs(heard[8050:]).max() < 200
    assert rig.gaps_s == []


@pytest.mark.parametrize("rate_hz", [8000, 24000])
@pytest.mark.parametrize("cuts", [(0.1,), (0.113, 0.12), (0.02, 0.04, 0.3)])
def test_a_play_that_pauses_goes_on_where_it_stopped(
    make_rig: type[Rig], make_tone: Tone, rate_hz: int, cuts: tuple[float, ...]
) -> None:
    """Its remainder waits, unpadded, and the resampler's history with it; so does its last end."""
    rig, whole = make_rig(), make_rig()
    audio = make_tone(0.5, rate_hz)
    whole.playout.play(audio, rate_hz, 0.0)
    whole.run_out()
    item = rig.playout.open(rate_hz, 0.0)
    for piece in np.split(audio, [round(cut * rate_hz) for cut in cuts]):
        rig.playout.feed(item, piece, rig.now)
        rig.run(rig.now + 0.7)
        assert item.heard_s(rig.now) == pytest.approx(len(rig.wire) / 8000)
    rig.playout.end(item, rig.now)
    rig.run_out()
    assert rig.wire == whole.wire
    assert len(rig.gaps_s) == len(cuts) + (rate_hz != 8000)
    assert (item.state, item.heard_s(rig.now)) == ("played", 0.5)


def test_a_play_that_pauses_holds_up_no_play_before_it(
    make_rig: type[Rig], make_tone: Tone
) -> None:
    """The end of that one is sent, with what the open one has given."""
    rig = make_rig()
    first = rig.playout.play(make_tone(0.113), 8000, 0.0)
    item = rig.playout.open(8000, 0.0)
    rig.playout.feed(item, make_tone(0.005), 0.0)
    rig.run(1.0)
    assert (first.state, first.heard_s(rig.now)) == ("played", 0.113)
    rig.playout.end(item, rig.now)
    rig.run_out()
    assert item.state == "played"


def test_a_lone_tail_after_a_pause_is_dropped(make_rig: type[Rig], make_tone: Tone) -> None:
    """A 20 ms play at another rate sends no 3 ms click after the far end ran dry."""
    rig = make_rig()
    item = rig.playout.play(make_tone(0.02, 16000), 16000, 0.0)
    rig.run_out()
    assert len(rig.payloads) == 1
    assert item.state == "played"


@pytest.mark.parametrize("rate_hz", [8000, 24000])
def test_a_rest_at_another_rate_comes_out_before_the_next_rate(
    make_rig: type[Rig], make_tone: Tone, rate_hz: int
) -> None:
    """7 ms at 16 kHz and then much at another rate: nothing of the first is lost."""
    rig = make_rig()
    first = rig.playout.play(make_tone(0.007, 16000), 16000, 0.0)
    second = rig.playout.play(make_tone(0.5, rate_hz), rate_hz, 0.0)
    rig.run_out()
    assert 0.507 * 8000 <= len(rig.wire) <= 0.507 * 8000 + 200
    assert (first.state, second.state) == ("played", "played")
    assert first.heard_s(rig.now) == pytest.approx(0.007, abs=0.001)


def test_plays_at_changing_rates_join_without_a_hole(make_rig: type[Rig], make_tone: Tone) -> None:
    """A tone handed over at 8, 16, 24 and 8 kHz is one tone to the caller."""
    rig = make_rig()
    rates_hz = [8000, 16000, 24000, 8000]
    for n, rate_hz in enumerate(rates_hz):
        whole = make_tone(0.4 * len(rates_hz), rate_hz)
        start = round(n * 0.4 * rate_hz)
        rig.playout.play(whole[start : start + round(0.4 * rate_hz)], rate_hz, 0.0)
    rig.run_out()
    heard = ULAW.decoder().decode(rig.wire).astype(float)[: round(1.6 * 8000)]
    wanted = make_tone(1.6).astype(float)
    # Away from the joins it is the tone; at them it may not fall silent.
    loudness = np.sqrt(np.convolve(heard**2, np.ones(40) / 40, "same"))[40:-40]
    assert loudness.min() > 0.6 * np.sqrt(np.mean(wanted**2))


def test_live_frames_of_odd_length_leave_no_rest(make_rig: type[Rig], make_tone: Tone) -> None:
    """A 25 ms live frame is one message of 25 ms."""
    rig = make_rig()
    audio = make_tone(1.0)
    for at in range(0, len(audio), 200):
        rig.run(at / 8000)
        rig.playout.play(audio[at : at + 200], 8000, rig.now, live=True)
    assert [len(payload) for payload in rig.payloads] == [200] * 40


def test_short_live_frames_wait_for_company(make_rig: type[Rig], make_tone: Tone) -> None:
    """10 ms live frames go out in pairs, never padded while they keep coming."""
    rig = make_rig()
    audio = make_tone(1.0)
    for at in range(0, len(audio), 80):
        rig.run(at / 8000)
        rig.playout.play(audio[at : at + 80], 8000, rig.now, live=True)
    rig.run_out()
    assert rig.wire == ULAW.encoder().encode(audio)


def test_live_messages_are_as_long_as_they_are_set(make_rig: type[Rig], make_tone: Tone) -> None:
    """With messages of 60 ms three live frames go as one; what is left goes when they stop."""
    rig = make_rig(message_s=0.06)
    audio = make_tone(1.0)
    for at in range(0, len(audio), 160):
        rig.run(at / 8000)
        rig.playout.play(audio[at : at + 160], 8000, rig.now, live=True)
    rig.run_out()
    assert [len(payload) for payload in rig.payloads] == [480] * 16 + [320]
    assert rig.wire == ULAW.encoder().encode(audio)


def test_an_echo_recovers_from_a_stall(make_rig: type[Rig], make_tone: Tone) -> None:
    """After 500 ms in one burst the echo is at most its backlog late, the rest is counted."""
    rig = make_rig()
    frame = make_tone(0.02)
    for _ in range(25):
        rig.playout.play(frame, 8000, rig.now, live=True)
    assert rig.playout.queued_s(rig.now) == pytest.approx(0.2)
    for _ in range(100):
        rig.run(rig.now + 0.02)
        rig.playout.play(frame, 8000, rig.now, live=True)
        assert rig.playout.queued_s(rig.now) <= 0.2 + 1e-6
    assert rig.playout.dropped_s == pytest.approx(0.3)
    assert rig.gaps_s == []


def test_the_oldest_live_audio_is_dropped(make_rig: type[Rig], make_tone: Tone) -> None:
    """What stays of a burst is its newest part, and what was sent before that came."""
    for live_frames in ([4000], [160] * 25):
        rig = make_rig()
        audio = make_tone(0.5, tone_hz=333.0)
        encoded = ULAW.encoder().encode(audio)
        for part in np.split(audio, np.cumsum(live_frames)[:-1]):
            rig.playout.play(part, 8000, 0.0, live=True)
        rig.run_out()
        assert rig.wire.endswith(encoded[-480:])
        assert len(rig.wire) == 1600


def test_live_audio_gives_way_to_a_clip_and_the_clip_is_whole(
    make_rig: type[Rig], make_tone: Tone
) -> None:
    """Echo frames behind a 3 s clip are dropped until it is nearly over; the clip never is."""
    rig = make_rig()
    audio = make_tone(3.0, tone_hz=333.0)
    clip = rig.playout.play(audio, 8000, 0.0)
    late = [rig.playout.play(make_tone(0.02), 8000, 0.1, live=True) for _ in range(3)]
    rig.run(3.5)
    assert rig.wire == ULAW.encoder().encode(audio)
    assert rig.playout.dropped_s == pytest.approx(0.06)
    assert clip.heard_s(rig.now) == 3.0
    assert [item.heard_s(rig.now) for item in late] == [0.0] * 3


def test_while_blocked_nothing_is_sent(make_rig: type[Rig], make_tone: Tone) -> None:
    """A blocked playout queues, asks for no ticks, and goes on where it stopped."""
    rig = make_rig()
    audio = make_tone(1.0)
    rig.playout.play(audio[:4000], 8000, 0.0)
    rig.playout.blocked = True
    n_sent = len(rig.payloads)
    rig.playout.play(audio[4000:], 8000, 0.05)
    rig.playout.tick(0.05)
    assert len(rig.payloads) == n_sent
    assert rig.playout.next_at is None
    rig.playout.blocked = False
    rig.playout.tick(0.1)
    rig.now = 0.1
    rig.run_out()
    assert rig.wire == ULAW.encoder().encode(audio)


def test_a_blocked_echo_keeps_only_its_backlog(make_rig: type[Rig], make_tone: Tone) -> None:
    """Live audio that may not leave is bounded like any other."""
    rig = make_rig()
    rig.playout.blocked = True
    for n in range(100):
        rig.playout.play(make_tone(0.02), 8000, n * 0.02, live=True)
    assert rig.playout.queued_s(2.0) <= 0.2 + 1e-6


def test_keepalive_fills_what_nobody_plays(make_rig: type[Rig], make_tone: Tone) -> None:
    """While nothing plays silence flows without a gap; a play joins within one message."""
    rig = make_rig(keepalive=True)
    rig.run(1.0)
    assert rig.wire == b"\xff" * (160 * len(rig.payloads))
    assert len(rig.payloads) in (50, 51)
    item = rig.playout.play(make_tone(0.1), 8000, rig.now)
    rig.run(2.0)
    assert item.state == "played"
    assert rig.gaps_s == []
    rig.playout.clear(rig.now)
    rig.run(3.0)
    assert rig.gaps_s == []
    rig.playout.close(rig.now)
    assert rig.playout.next_at is None


@pytest.mark.parametrize("live", [True, False])
def test_what_is_sent_can_be_overheard(make_rig: type[Rig], make_tone: Tone, *, live: bool) -> None:
    """Each payload, with the time at which what was sent before is over; then no more of them."""
    rig = make_rig(keepalive=not live)
    heard: list[tuple[float, bytes]] = []
    rig.playout.overhear(lambda payload: heard.append((rig.playout.ledger.dry_at, payload)))
    rig.playout.play(make_tone(0.1), 8000, rig.now, live=live)
    rig.run(0.5)
    assert [payload for _, payload in heard] == rig.payloads
    assert heard[1][0] == pytest.approx(len(heard[0][1]) / 8000)
    n_heard = len(heard)
    rig.playout.overhear(None)
    rig.playout.play(make_tone(0.1), 8000, rig.now, live=live)
    rig.run(1.0)
    assert len(heard) == n_heard < len(rig.payloads)


class Ear:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []
        self.n_cleared = 0

    def playing(self, ledger: Ledger) -> None:
        pass

    def sent(self, samples: np.ndarray, rate_hz: int, at: float) -> None:
        self.heard.append(samples)

    def cleared(self, at: float) -> None:
        self.n_cleared += 1


@pytest.mark.parametrize("live", [True, False])
def test_a_listener_may_listen_no_more(make_rig: type[Rig], make_tone: Tone, *, live: bool) -> None:
    """It is told nothing then; one that began before it, and one behind it, are told all."""
    rig = make_rig()
    ears = [Ear(), Ear(), Ear()]
    for ear in ears:
        rig.playout.listen(ear, lambda: rig.now)
    rig.playout.listen_no_more(ears[1])
    rig.playout.listen_no_more(Ear())
    rig.playout.play(make_tone(0.1), 8000, rig.now, live=live)
    rig.run(0.5)
    rig.playout.clear(rig.now)
    counts = [sum(map(len, ear.heard)) for ear in ears]
    assert counts == [counts[0], 0, counts[0]]
    assert counts[0] >= 800
    assert [ear.n_cleared for ear in ears] == [1, 0, 1]


def test_one_message_is_sampled(make_rig: type[Rig], make_tone: Tone) -> None:
    """The next one, and no other, until it is asked for again; all are sent as ever."""
    rig, plain = make_rig(), make_rig()
    sampled: list[np.ndarray] = []
    for each in (rig, plain):
        for _ in range(2):
            if each is rig:
                rig.playout.sample(sampled.append)
            each.playout.play(make_tone(0.2), 8000, each.now)
            each.run(0.5)
    assert len(sampled) == 2
    assert rig.payloads == plain.payloads


def test_a_muted_playout_sends_silence(make_rig: type[Rig], make_tone: Tone) -> None:
    """As many messages and marks as else, each silent, and those at the ear hear that as well."""
    rig, ear = make_rig(), Ear()
    rig.playout.listen(ear, lambda: rig.now)
    rig.playout.mute(True)
    play = rig.playout.play(make_tone(0.2), 8000, rig.now)
    rig.run(0.5)
    assert play.heard_s(rig.now) == pytest.approx(0.2)
    assert not any(samples.any() for samples in ear.heard)
    n_muted = len(rig.payloads)
    assert n_muted > 0
    rig.playout.mute(False)
    rig.playout.play(make_tone(0.2), 8000, rig.now)
    rig.run(0.5)
    assert len(rig.payloads) > n_muted
    assert any(samples.any() for samples in ear.heard)
