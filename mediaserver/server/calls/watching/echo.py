"""Whether a caller's audio holds what was played to them: the bot hears itself.

For five seconds at a time both tracks are kept, and compared at once at their end: the power of
each 20 ms, in dB, of what was played and of what came, shifted against each other. An echo comes
later than what it is an echo of. A bot that repeats the caller comes later than the caller:
that is the other direction, and a rhythm fits in both, so both are none.

    window    began at                     each frame then costs     its end costs
    none      –                            nothing                   –
    open      the bot plays, and the gap   one more call             half a ms, once
              behind the last one is over

The gap is 0 s, then 5, 10, 20, 40, 60 s: a call of three minutes has six windows. A process has
no more than ``MOST_OPEN`` at a time, of 150 KB each, and compares ``MOST_A_LOOK`` at once: with
hundreds of calls each has fewer windows, and none waits for the others' comparisons.

The thresholds are measured with speech of the project, as in the test of this module, in 3,000
windows of each kind. Different speech in both directions is alike by at most 0.60 where both
speak at once, 0.49 by turns, and 0.77 where one says a few words in between: once above 0.75. An
echo is, while the caller is silent, by 0.87 at least at -6 dB, 0.79 at -25 dB, 0.75 at -30 dB.
Two windows have to agree in the delay. Not found: an echo that only comes while the caller
speaks as well, and one of audio that is sent all at once (``lead_ms`` without a value).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mediaserver.media.frames import Frame, Int16Array
from mediaserver.server.calls.audio.inbound import Inbound
from mediaserver.server.calls.audio.outbound import Outbound
from telephony_codecs import CodecError, Decoder

WINDOW_S = 5.0
FIRST_GAP_S = 5.0
LONGEST_GAP_S = 60.0
STEP_S = 0.02
N_STEPS = round(WINDOW_S / STEP_S)
N_LAGS = 60
LEAST_LAG = 5
ALIKE = 0.75
MORE_THAN_BEFORE = 0.3
# Less than this, as of a tone or of silence, says nothing.
LEAST_CHANGE_DB = 3.0
FLOOR = 1e-6  # -60 dBFS
AGREE_STEPS = 3
MOST_OPEN = 6
MOST_A_LOOK = 1
# A bot that plays sends more messages a second, also where each holds 100 ms.
PLAYS_A_SECOND = 5

Levels = npt.NDArray[np.float64]


class EchoedCall(Protocol):
    """What is to be known of a call."""

    @property
    def began_at(self) -> float:
        """Monotonic seconds of its start: stream time is 0 there."""

    @property
    def inbound(self) -> Inbound:
        """Its inbound half."""

    @property
    def outbound(self) -> Outbound:
        """Its outbound half."""

    def sent_decoder(self) -> Decoder:
        """A new decoder of what is sent.

        Raises:
            CodecError: there is none.
        """


class Share:
    """What the calls of a process share: how many windows there are, and are compared at once."""

    def __init__(self) -> None:
        self._n_open = 0
        self._looked_at = 0.0
        self._n_compared = 0

    def take(self) -> bool:
        """Whether one more window may be there; it is to be given back."""
        is_free = self._n_open < MOST_OPEN
        self._n_open += is_free
        return is_free

    def give_back(self) -> None:
        """A window is no more."""
        self._n_open -= 1

    def may_compare(self, now: float) -> bool:
        """Whether one more may be compared at this look, which is at one time for some calls."""
        if now != self._looked_at:
            self._looked_at, self._n_compared = now, 0
        self._n_compared += 1
        return self._n_compared <= MOST_A_LOOK


_SHARE = Share()


class Window:
    """Both tracks of one call, for a while.

    Args:
        call: whose.
        now: monotonic seconds.
    """

    def __init__(self, call: EchoedCall, now: float) -> None:
        self.began_at = now
        self.playout = call.outbound.playout
        self._inbound = call.inbound
        self._origin = call.began_at - now
        self._came: list[Frame] = []
        self._sent: list[tuple[float, bytes]] = []
        # What was sent before is heard until then.
        self._heard_from = self.playout.ledger.dry_at
        self._inbound.overhear(self._came.append)
        self.playout.overhear(self._sent_one)

    def _sent_one(self, payload: bytes) -> None:
        # Before the ledger has it: it is heard when all before it was.
        self._sent.append((self.playout.ledger.dry_at, payload))

    def close(self) -> None:
        """Keep no more."""
        self._inbound.overhear_no_more(self._came.append)
        self.playout.overhear(None)

    def sent(self, decoder: Decoder) -> Levels:
        """The levels of what was sent, at the time when the caller heard it."""
        rate_hz = decoder.rate_hz
        heard_until = max(self.began_at, self._heard_from)
        chunks = []
        for dry_at, payload in self._sent:
            samples = decoder.decode(payload)
            heard_at = max(heard_until, dry_at)
            chunks.append((heard_at - self.began_at, samples))
            heard_until = heard_at + len(samples) / rate_hz
        return levels(chunks, rate_hz)

    def came(self) -> Levels:
        """The levels of what the caller's track brought, at its time in the stream."""
        frames = [frame for frame in self._came if frame.track == "inbound"]
        rate_hz = frames[0].rate if frames else 8000
        return levels([(self._origin + frame.start, frame.samples) for frame in frames], rate_hz)


class EchoWatch:
    """Looks for an echo in one call.

    **Call ``look`` once a second, and ``end`` at the call's end; ``delay_s`` is what was found.**
    """

    def __init__(self) -> None:
        self.delay_s: float | None = None
        self._window: Window | None = None
        self._next_at = 0.0
        self._gap_s = 0.0
        self._n_sent = 0
        self._found: list[int] = []

    def look(self, call: EchoedCall, now: float) -> None:
        """Begin or end a window, if it is time; not at all once an echo was found."""
        playout = call.outbound.playout
        n_sent = playout.ledger.n_messages
        is_playing, self._n_sent = n_sent - self._n_sent >= PLAYS_A_SECOND, n_sent
        window = self._window
        if window is not None:
            if playout is not window.playout:  # another socket: its times are its own
                self.end()
            elif now - window.began_at >= WINDOW_S:
                window.close()
                if _SHARE.may_compare(now):
                    self.end()
                    self._judge(window, call)
        elif is_playing and now >= self._next_at and self.delay_s is None and _SHARE.take():
            self._window = Window(call, now)

    def end(self) -> None:
        """Keep nothing any more."""
        window, self._window = self._window, None
        if window is not None:
            window.close()
            _SHARE.give_back()
            self._next_at = window.began_at + WINDOW_S + self._gap_s
            self._gap_s = min(max(FIRST_GAP_S, 2 * self._gap_s), LONGEST_GAP_S)

    def _judge(self, window: Window, call: EchoedCall) -> None:
        try:
            lag = lag_of(window.sent(call.sent_decoder()), window.came())
        except CodecError:  # this machine encodes it only
            lag = None
        if lag is None:
            return
        if any(abs(lag - other) <= AGREE_STEPS for other in self._found):
            self.delay_s = lag * STEP_S
        self._found.append(lag)


def levels(chunks: Sequence[tuple[float, Int16Array]], rate_hz: int) -> Levels:
    """The level of each 20 ms of a window, in dBFS, -60 at least.

    Args:
        chunks: seconds from the window's beginning, and samples, int16 ``(n,)``.
        rate_hz: of the samples.

    Returns:
        shape ``(N_STEPS,)``.
    """
    step = round(rate_hz * STEP_S)
    track = np.zeros(N_STEPS * step, np.float32)
    for at, run in _runs(chunks, rate_hz, most_apart=step // 4):
        kept = run[max(0, -at) :]
        at = max(0, at)
        room = track[at : at + len(kept)]
        room[:] = kept[: len(room)]
    power = np.square(track).reshape(N_STEPS, step).mean(axis=1) / 32768**2
    found: Levels = 10 * np.log10(power.astype(np.float64) + FLOOR)
    return found


def _runs(
    chunks: Sequence[tuple[float, Int16Array]], rate_hz: int, *, most_apart: int
) -> Iterator[tuple[int, Int16Array]]:
    """Chunks that follow each other, put together: where each run begins, and its samples.

    Each chunk may be displaced by ``most_apart`` samples: hundreds of them become a few arrays.
    """
    run: list[Int16Array] = []
    began = end = 0
    for at_s, samples in chunks:
        at = round(at_s * rate_hz)
        if run and abs(at - end) > most_apart:
            yield began, np.concatenate(run)
            run = []
        if not run:
            began = end = at
        run.append(samples)
        end += len(samples)
    if run:
        yield began, np.concatenate(run)


def lag_of(sent: Levels, came: Levels) -> int | None:
    """By how many steps of 20 ms ``came`` is ``sent`` again; None if it is not.

    Args:
        sent, came: levels of the same window, shape ``(N_STEPS,)``.
    """
    n = N_STEPS - 2 * N_LAGS
    played = sent[N_LAGS : N_LAGS + n]
    if played.std() < LEAST_CHANGE_DB:
        return None
    played = played - played.mean()
    # Row k: what came k - N_LAGS steps later.
    rows = np.lib.stride_tricks.sliding_window_view(came, n)
    rows = rows - rows.mean(axis=1, keepdims=True)
    size = np.sqrt((played @ played) * np.square(rows).sum(axis=1))
    alike = (rows @ played) / np.maximum(size, 1e-9)
    after = alike[N_LAGS + LEAST_LAG :]
    lag = int(after.argmax())
    best = float(after[lag])
    if best < ALIKE or best - float(alike[:N_LAGS].max()) < MORE_THAN_BEFORE:
        return None
    return lag + LEAST_LAG
