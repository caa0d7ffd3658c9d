"""Seeded telephone conversations with a bot's echo, in simulated time: who hears what when.

A `Conversation` gives the caller's track window by window, and beside each window what the
playout clock says was at the ear then. **Call `step`; then `interrupt` where the listener would
clear.** Audio that was cleared is not heard, and its echo does not come.

A turn of the bot is 6 to 25 s of prompts. In most of them the caller interrupts, in some they
say a word only (a back-channel), in the rest nothing. Behind a turn they often answer.

The echo: 6 to 30 dB below the bot, 0 to 1.2 s behind the clock, a room of 20 to 120 ms, a
loudspeaker that limits, a gain that wanders by 2 dB, a second codec on half of the legs. In a
quarter of the conversations its delay moves by up to 60 ms between turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from benchmarks.parts.speech import (
    ACTIVE_DB,
    RATE_HZ,
    Clip,
    Float,
    Int16,
    Span,
    clips,
    levelled,
    noise,
    phrases,
    pitched,
    through,
)

WINDOW = 256
WINDOW_S = WINDOW / RATE_HZ
# From Telnyx to the server and back, each.
WAY_S = 0.020
# What a decision waits for: the rest of a frame, the next tick, the model.
FRAME_S, TICK_S, WORK_S = 0.020, WINDOW_S, 0.005
# A caller who interrupts says at least so much; a back-channel is at most so long.
LEAST_S, BACK_CHANNEL_S = 0.6, 0.5
# An interruption that comes so long after the caller's last word is one all the same.
LATE_S = 0.3
AGAIN_S = 1.0


@dataclass
class Score:
    """What became of the interruptions of some conversations.

    Attributes:
        bot_s: how long the bot was heard.
        false_at: seeds and seconds of interruptions while the caller said nothing.
        hits: interruptions that were noticed.
        misses: those that were not, with their seeds.
        delays: seconds from the caller's first sound to silence at the ear.
        words: back-channels.
        words_taken: back-channels that interrupted.
    """

    bot_s: float = 0.0
    false_at: list[tuple[int, float]] = field(default_factory=list)
    hits: int = 0
    misses: list[tuple[int, float]] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    words: int = 0
    words_taken: int = 0

    def add(self, other: Score) -> None:
        """Count another one's too."""
        self.bot_s += other.bot_s
        self.false_at += other.false_at
        self.hits += other.hits
        self.misses += other.misses
        self.delays += other.delays
        self.words += other.words
        self.words_taken += other.words_taken


@cache
def voices() -> tuple[tuple[Clip, ...], tuple[Clip, ...], tuple[Clip, ...]]:
    """What bots say, what callers say, and callers' short words; nothing is in two of them."""
    prompts = [clip for clip in clips() if clip.speaker == "Allison"]
    bot = tuple(clip for n, clip in enumerate(prompts) if n % 3 and _is_short(clip))
    spoken = {clip.name for clip in bot}
    callers = [clip for clip in phrases() if clip.name.split("@")[0] not in spoken]
    # Of the few other speakers everything that a pause precedes.
    for clip in clips():
        if clip.speaker != "Allison":
            for start, end in clip.labels:
                first, last = round(start * RATE_HZ), round(min(end, start + 4) * RATE_HZ)
                piece = levelled(clip.samples[first:last], f"{clip.name}@{start:.2f}", clip.speaker)
                if piece is not None:
                    callers.append(piece)
    length = [clip.labels[-1][1] - clip.labels[0][0] for clip in callers]
    long = tuple(clip for clip, s in zip(callers, length, strict=True) if s >= LEAST_S)
    short = tuple(clip for clip, s in zip(callers, length, strict=True) if s <= BACK_CHANNEL_S)
    return bot, long, short


def _is_short(clip: Clip) -> bool:
    return len(clip.samples) <= 8 * RATE_HZ


class Conversation:
    """One call; see the module.

    Args:
        seed: all of it follows from this.
        n_turns: of the bot.

    Attributes:
        score: so far; complete once ``is_over``.
        is_over: the last turn has ended.
    """

    def __init__(self, seed: int, n_turns: int = 12) -> None:
        self.seed = seed
        self.score = Score()
        self.is_over = False
        rng = self._rng = np.random.default_rng([20261128, seed])
        self._left = n_turns
        self._erl_db = rng.uniform(6, 30)
        self._delay_s = rng.uniform(0, 1.2)
        self._moves = rng.random() < 0.25
        self._bot_db = rng.uniform(-4, 4)
        self._caller_db = rng.uniform(-6, 4)
        self._noise_db = ACTIVE_DB + self._caller_db - rng.uniform(10, 35)
        self._noise_kind = str(rng.choice(["white", "pink", "car"]))
        self._room = self._make_room()
        self._leg = "PCMA" if rng.random() < 0.5 else ""
        self._codec = str(rng.choice(["PCMU", "PCMA"]))
        sphinx = rng.random() < 0.5
        _, long, short = voices()
        self._pitch = 1.0 if sphinx else rng.uniform(1.12, 1.3)
        self._long = [clip for clip in long if (clip.speaker != "Allison") == sphinx]
        self._short = short
        self._at_s = 0.0
        self._begin_turn()

    def _make_room(self) -> Float:
        rng = self._rng
        n = round(rng.uniform(0.02, 0.12) * RATE_HZ)
        taps = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n) * 0.5
        taps[0] += 1.0
        taps = np.convolve(taps, [1.0, -rng.uniform(0.2, 0.8)])
        return (taps / np.sqrt(np.sum(taps**2))).astype(np.float32)

    # One turn: all of it in arrays that begin with it.

    def _begin_turn(self) -> None:
        rng = self._rng
        bot, _, _ = voices()
        said: list[Float] = []
        length_s = rng.uniform(6, 25)
        while sum(map(len, said)) < length_s * RATE_HZ:
            clip = bot[int(rng.integers(len(bot)))]
            said += [clip.samples, np.zeros(round(rng.uniform(0.05, 0.5) * RATE_HZ), np.float32)]
        sent = np.concatenate(said) * np.float32(10 ** (self._bot_db / 20))
        self._bot_end = len(sent)
        rest = round(rng.uniform(2.0, 7.0) * RATE_HZ)
        n = -(-(len(sent) + rest) // WINDOW) * WINDOW
        sent = through(self._codec, np.pad(sent, (0, n - len(sent))))
        self._sent = sent.astype(np.float32) / 32768
        self._silent_from: int | None = None
        self._span: Span | None = None
        self._what = ""
        self._is_taken = False
        self._next_s = 0.0
        self._caller = np.zeros(n, np.float32)
        self._plan_caller()
        level = np.float32(10 ** (self._noise_db / 20))
        self._noise = level * noise(self._noise_kind, n, rng)
        if self._moves:
            self._delay_s = float(np.clip(self._delay_s + rng.uniform(-0.06, 0.06), 0, 1.2))
        wander = np.interp(np.arange(n), np.linspace(0, n, 8), rng.uniform(-2, 2, 8))
        self._gain = (10 ** ((wander - self._erl_db) / 20)).astype(np.float32)
        self._position = 0
        self._render(0)

    def _plan_caller(self) -> None:
        """Whether, when and what the caller says in this turn, and perhaps behind it."""
        rng = self._rng
        self._what = str(rng.choice(["interrupts", "word", "listens"], p=[0.7, 0.15, 0.15]))
        bot_s = self._bot_end / RATE_HZ
        if self._what != "listens":
            pool = self._long if self._what == "interrupts" else self._short
            clip = self._voice(pool[int(rng.integers(len(pool)))])
            at = rng.uniform(1.0, max(bot_s - 3.0, 1.5))
            self._span = self._say(clip, at)
        if rng.random() < 0.5 and self._what != "interrupts":
            clip = self._voice(self._long[int(rng.integers(len(self._long)))])
            self._say(clip, bot_s + 1.5)

    def _voice(self, clip: Clip) -> Clip:
        return pitched(clip, self._pitch) if clip.speaker == "Allison" else clip

    def _say(self, clip: Clip, at: float) -> Span:
        first = round(at * RATE_HZ)
        samples = clip.samples[: max(len(self._caller) - first, 0)]
        level = np.float32(10 ** (self._caller_db / 20))
        self._caller[first : first + len(samples)] += level * samples
        start = first / RATE_HZ
        return start + clip.labels[0][0], start + clip.labels[-1][1]

    def _render(self, since: int) -> None:
        """The caller's track from ``since`` on."""
        heard = self._sent.copy()
        if self._silent_from is not None:
            heard[self._silent_from :] = 0
        size = len(heard) + len(self._room)
        spectrum = np.fft.rfft(heard, size) * np.fft.rfft(self._room, size)
        echo = np.fft.irfft(spectrum, size)[: len(heard)].astype(np.float32)
        echo = np.tanh(2 * echo) / 2 * self._gain
        if self._leg:
            echo = through(self._leg, echo).astype(np.float32) / 32768
        shift = round(self._delay_s * RATE_HZ)
        echo = np.pad(echo, (shift, 0))[: len(heard)]
        self._heard = heard
        track = through(self._codec, echo + self._caller + self._noise)
        if since:
            track[:since] = self._track[:since]
        self._track = track

    # The listener's side.

    def step(self) -> tuple[Int16, Int16, bool]:
        """The next window of the caller's track, of what was at the ear, and if the bot speaks."""
        if not self.is_over and self._position >= self._turn_end():
            self._end_turn()
        if self.is_over:
            empty = np.zeros(WINDOW, np.int16)
            return empty, empty, False
        first = self._position
        last = self._position = first + WINDOW
        speaks = first < (self._bot_end if self._silent_from is None else self._silent_from)
        self.score.bot_s += WINDOW_S * speaks
        sent = (self._heard[first:last] * 32767).astype(np.int16)
        return self._track[first:last], sent, speaks

    def interrupt(self) -> None:
        """The listener clears, having heard all windows so far."""
        now = self._position / RATE_HZ
        if (
            self.is_over
            or now < self._next_s
            or self._silent_from is not None
            or now * RATE_HZ > self._bot_end
        ):
            return
        self._next_s = now + AGAIN_S
        if self._span is None or not self._span[0] <= now <= self._span[1] + LATE_S:
            self.score.false_at.append((self.seed, self._at_s + now))
        elif self._what == "word":
            self.score.words_taken += not self._is_taken
            self._is_taken = True
        else:
            waited = self._rng.uniform(0, FRAME_S) + self._rng.uniform(0, TICK_S) + WORK_S
            silent_s = now + WAY_S + waited + WAY_S
            self.score.hits += 1
            self.score.delays.append(silent_s - self._span[0])
            self._is_taken = True
            self._silent_from = round(silent_s * RATE_HZ)
            self._render(self._position)

    def _turn_end(self) -> int:
        if self._silent_from is None or self._span is None:
            return len(self._track)
        return min(len(self._track), round((self._span[1] + 1.5) * RATE_HZ))

    def _end_turn(self) -> None:
        if self._what == "interrupts" and not self._is_taken and self._span is not None:
            self.score.misses.append((self.seed, self._at_s + self._span[0]))
        self.score.words += self._what == "word"
        self._at_s += self._position / RATE_HZ
        self._left -= 1
        if self._left <= 0:
            self.is_over = True
        else:
            self._begin_turn()
