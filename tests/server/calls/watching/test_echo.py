"""An echo is told from ordinary speech; the figures in ``echo.py`` are measured here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mediaserver.media.frames import Frame
from mediaserver.media.playout import Playout
from mediaserver.server.calls.watching import echo
from mediaserver.server.calls.watching.echo import N_STEPS, EchoWatch, lag_of, levels
from telephony_codecs import CodecError, Decoder, codec
from telephony_codecs.clips import open_audio, resample_clip

ROOT = Path(__file__).parents[4]
FILES = ("mediaserver/carrier/speech.wav", "tests/vectors/codecs/speech_16k.wav")
N = round(echo.WINDOW_S * 8000)
QUIET_DB = -60.0
N_TRIALS = 150
Audio = npt.NDArray[np.float64]


def clips() -> list[Audio]:
    read = [open_audio(ROOT / file) for file in FILES]
    return [resample_clip(samples, rate, 8000).astype(np.float64) for samples, rate in read]


CLIPS = clips()


class Voices:
    """Speech and noise, from anywhere in the clips."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def noise(self) -> Audio:
        return self.random.normal(0, 32768 * 10 ** (QUIET_DB / 20), N)

    def speech(self, clip: Audio, n: int = N) -> Audio:
        at = self.random.integers(len(clip))
        return np.tile(clip, 1 + -(-2 * N // len(clip)))[at : at + n]

    def two(self) -> tuple[Audio, Audio]:
        """Two who say different things: other speakers, or other words of the same."""
        long, short = CLIPS
        half = len(long) // 2
        pairs = [(long, short), (short, long), (long[:half], long[half:])]
        one, other = pairs[self.random.integers(3)]
        return self.speech(one), self.speech(other)


def db(samples: Audio) -> npt.NDArray[np.float64]:
    """The levels of a window of samples."""
    return levels([(0.0, samples.clip(-32768, 32767).astype(np.int16))], 8000)


def at_once(voices: Voices) -> tuple[Audio, Audio]:
    """Both speak all the while."""
    bot, caller = voices.two()
    return bot + voices.noise(), caller + voices.noise()


def by_turns(voices: Voices) -> tuple[Audio, Audio]:
    """The caller answers when the bot is silent."""
    bot, caller = at_once(voices)
    turn = int(voices.random.uniform(0.3, 0.7) * N)
    answer = min(N, turn + int(voices.random.uniform(0.2, 0.8) * 8000))
    bot[turn:] = voices.noise()[turn:]
    caller[:answer] = voices.noise()[:answer]
    return bot, caller


def in_between(voices: Voices) -> tuple[Audio, Audio]:
    """The caller says a word now and then."""
    bot, caller = at_once(voices)
    for _ in range(2):
        at = voices.random.integers(N - 8000)
        caller[at : at + 8000] = voices.noise()[:8000]
    return bot, caller


def repeated(voices: Voices) -> tuple[Audio, Audio]:
    """A bot that repeats what the caller says."""
    _, caller = voices.two()
    later = int(voices.random.uniform(0.02, 0.8) * 8000)
    return np.concatenate([voices.noise()[:later], caller])[:N], caller


def nobody(voices: Voices) -> tuple[Audio, Audio]:
    """The caller is silent."""
    return at_once(voices)[0], voices.noise()


def beeps(voices: Voices) -> tuple[Audio, Audio]:
    """A rhythm in both directions."""
    on = (np.arange(N) // 2000) % 2 * 8000.0
    return on + voices.noise(), np.roll(on, 1600) + voices.noise()


@pytest.mark.parametrize("talk", [at_once, by_turns, in_between, repeated, nobody, beeps])
def test_ordinary_talk_is_no_echo(talk: Any) -> None:
    """In hardly a window of any kind, and in no two that agree."""
    voices = Voices(1)
    found = [lag_of(db(bot), db(caller)) for bot, caller in (talk(voices) for _ in range(N_TRIALS))]
    lags = [lag for lag in found if lag is not None]
    assert len(lags) <= 1


@pytest.mark.parametrize("gain_db", [-6, -15, -25, -30])
def test_an_echo_is_found_with_its_delay(gain_db: float) -> None:
    """Quiet as it may be, while the caller is silent."""
    voices = Voices(2)
    n_found = 0
    for _ in range(N_TRIALS):
        speech = voices.speech(CLIPS[voices.random.integers(2)], 2 * N)
        delay_s = voices.random.uniform(0.15, 1.0)
        n_later = round(delay_s * 8000)
        back = speech[N - n_later : 2 * N - n_later] * 10 ** (gain_db / 20)
        lag = lag_of(db(speech[N:]), db(back + voices.noise()))
        if lag is not None:
            n_found += 1
            assert abs(lag * echo.STEP_S - delay_s) <= 0.04
    assert n_found >= 0.95 * N_TRIALS


def test_silence_and_a_tone_say_nothing() -> None:
    """What does not change is like anything else."""
    flat = np.full(N_STEPS, -20.0)
    assert lag_of(flat, flat) is None
    assert lag_of(db(CLIPS[0][:N]), flat) is None


def test_levels_are_placed_by_time() -> None:
    """What begins before the window, or ends behind it, counts with the rest of it."""
    loud = np.full(800, 16384, np.int16)
    found = levels([(-0.06, loud), (2.0, loud), (4.96, loud), (9.0, loud)], 8000)
    assert found.shape == (N_STEPS,)
    assert np.flatnonzero(found > -10).tolist() == [0, 1, 100, 101, 102, 103, 104, 248, 249]
    assert found.min() == pytest.approx(-60)


class Peer:
    """A call whose caller hears what is played, and sends it back later."""

    def __init__(self, delay_s: float | None) -> None:
        self.playout = self.renewed()
        self.inbound: Any = self
        self.outbound: Any = self
        self.began_at = 0.0
        self.delay_s = delay_s
        self.tap: Any = None
        self.sent = np.zeros(40 * 8000, np.int16)
        self.can_decode = True

    def renewed(self) -> Playout:
        self.playout = Playout(codec("PCMU").encoder(8000), self)
        return self.playout

    def overhear(self, tap: Any) -> None:
        self.tap = tap

    def overhear_no_more(self, tap: Any) -> None:
        assert self.tap in (None, tap)
        self.tap = None

    def send_media(self, payload: bytes) -> None:
        pass

    def send_mark(self, name: str) -> None:
        pass

    def send_clear(self) -> None:
        pass

    def sent_decoder(self) -> Decoder:
        if not self.can_decode:
            raise CodecError("it is not there")
        return codec("PCMU").decoder(8000)

    def live(self, watch: EchoWatch, seconds: float, *, begin_s: float = 0.0) -> None:
        """Play speech in real time, and look once a second."""
        speech = np.tile(CLIPS[0], 6).astype(np.int16)
        noise = np.random.default_rng(1)
        for k in range(round(begin_s * 50), round((begin_s + seconds) * 50)):
            now = k * 0.02
            piece = speech[k * 160 : k * 160 + 160]
            self.playout.play_live(piece, 8000, now)
            self.sent[k * 160 : k * 160 + 160] = piece
            if self.tap is not None:
                came = noise.normal(0, 30, 160)
                if self.delay_s is not None:
                    at = max(0, k * 160 - round(self.delay_s * 8000))
                    came += 0.1 * self.sent[at : at + 160]
                self.tap(Frame(came.astype(np.int16), 8000, "inbound", k, now))
            if k % 50 == 49:
                watch.look(self, now)


def test_two_windows_have_to_agree() -> None:
    """One says nothing yet; with the second the delay is known, and nothing is kept any more."""
    peer, watch = Peer(0.4), EchoWatch()
    peer.live(watch, 7.0)
    assert watch.delay_s is None
    peer.live(watch, 8.0, begin_s=7.0)
    assert watch.delay_s == pytest.approx(0.4, abs=0.04)
    assert peer.tap is None


def test_without_an_echo_the_windows_become_rare() -> None:
    """Nothing is found, and between two windows frames are not looked at."""
    peer, watch = Peer(None), EchoWatch()
    open_s = 0
    for second in range(38):
        peer.live(watch, 1.0, begin_s=second)
        open_s += peer.tap is not None
    assert watch.delay_s is None
    assert 15 <= open_s <= 20  # three windows, each of which ends at a look


def test_another_socket_ends_a_window() -> None:
    """Its times are its own; so does the call's end, and a codec that cannot be decoded here."""
    peer, watch = Peer(0.4), EchoWatch()
    peer.live(watch, 2.0)
    assert peer.tap is not None
    peer.renewed()
    peer.live(watch, 1.0, begin_s=2.0)
    assert peer.tap is None
    peer.can_decode = False
    peer.live(watch, 17.0, begin_s=3.0)
    assert watch.delay_s is None
    watch.end()
    assert peer.tap is None


def test_many_calls_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many windows at once, and so many compared at one look; the others come later."""
    monkeypatch.setattr(echo, "MOST_OPEN", 3)
    monkeypatch.setattr(echo, "MOST_A_LOOK", 1)
    calls = [(Peer(0.4), EchoWatch()) for _ in range(5)]
    n_open = []
    for second in range(20):
        for peer, watch in calls:
            peer.live(watch, 1.0, begin_s=second)
        n_open.append(sum(peer.tap is not None for peer, _ in calls))
    assert max(n_open) == 3
    assert sum(watch.delay_s is not None for _, watch in calls) >= 1
    for _, watch in calls:
        watch.end()
    assert echo._SHARE.take()
    echo._SHARE.give_back()
