"""The figures of a finished call: how long its audio took, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mediaserver.carrier.intake import Intake
from mediaserver.carrier.messages import ClearIn
from mediaserver.carrier.plan import TRACKS, Audio, CallPlan, at_rate
from mediaserver.carrier.record import Integers, Record, Seconds
from mediaserver.carrier.report import CallReport, Milliseconds
from mediaserver.carrier.turns import Caller, Taken
from telephony_codecs import CodecError, Int16Array, codec

MAX_LAG_S = 0.5

# So much speech is enough to find the lag; an hour of it would give the same.
_LAG_WINDOW_S = 10


def measure(record: Record) -> CallReport:
    """Return what the events of a call amount to."""
    plan, intake, caller = record.plan, record.intake, record.caller
    ended_s = math.inf if record.ended_s is None else record.ended_s
    echo = _echo(record) if caller is None else _Echo()
    return CallReport(
        plan,
        sent=len(record.sent),
        sent_s=echo.sent_s if caller is None else len(record.sent) * plan.chunk_ms / 1000,
        returned=len(intake.arrivals.at_s),
        returned_s=intake.ear.n_fed / intake.ear.rate_hz,
        round_trips_ms=echo.trips_ms[np.isfinite(echo.trips_ms)],
        late_ms=1000 * np.array(record.sent.late_s),
        held_s=record.held_s,
        lost=int(np.count_nonzero(np.isinf(echo.trips_ms))),
        lag_ms=echo.likeness.lag_ms,
        snr_db=echo.likeness.snr_db,
        bit_exact=echo.likeness.snr_db == math.inf if _comparable(plan) else None,
        marks=sum(not mark.cleared for mark in record.marks),
        cleared_marks=sum(mark.cleared for mark in record.marks),
        clears=sum(isinstance(r.command, ClearIn) for r in intake.received),
        dtmf=record.dtmf,
        errors=tuple(complaint.code for complaint in record.complaints),
        silent=dict(intake.silent),
        reconnects=record.reconnects,
        setup_ms=None if record.setup_s is None else 1000 * record.setup_s,
        close_code=record.close_code,
        close_reason=record.close_reason,
        hung_up=record.hung_up,
        ended_s=record.ended_s,
        taken=() if caller is None else _taken(caller, ended_s),
        waiting=() if caller is None else tuple(turn.name for turn in caller.waiting),
        heard_at_s=intake.heard.until(ended_s),
        error=record.error,
        heard=intake.ear,
    )


def _taken(caller: Caller, ended_s: float) -> tuple[Taken, ...]:
    return tuple(each._replace(to_s=min(each.to_s, ended_s)) for each in caller.taken)


class Likeness(NamedTuple):
    """How well returned audio resembles the sent one; None: it cannot be said."""

    lag_ms: float | None
    snr_db: float | None


class _Echo(NamedTuple):
    """Figures of a call of which the server sends everything back."""

    sent_s: float = 0.0
    trips_ms: Milliseconds = np.zeros(0)
    likeness: Likeness = Likeness(None, None)


def _echo(record: Record) -> _Echo:
    plan, intake = record.plan, record.intake
    main = TRACKS[plan.tracks][0]
    positions, due_s = record.sent.of(main)
    trips_ms = round_trips_ms(positions, due_s, plan, intake)
    n_chunks = int(positions.max(initial=-1)) + 1
    likeness = _likeness(record, main, n_chunks, intake.arrivals.audio())
    return _Echo(n_chunks * plan.chunk_ms / 1000, trips_ms, likeness)


def _comparable(plan: CallPlan) -> bool:
    if plan.turns is not None:
        return False
    same = (plan.codec, plan.in_rate_hz) == (plan.out_codec, plan.out_rate_hz)
    return same and plan.keep != "figures"


def round_trips_ms(
    positions: Integers, due_s: Seconds, plan: CallPlan, intake: Intake
) -> Milliseconds:
    """Return for each chunk how long it took until that much audio had come back.

    Matched by position in the audio, so that the server is free to cut its messages as it
    likes. Counted from when the chunk was due, so that a sender held up by the server
    does not hide it. Infinite: it never came back.
    """
    arrivals = intake.arrivals
    ends = np.cumsum([len(samples) for samples in arrivals.samples], dtype=float)
    # Half a chunk of tolerance: a resampler may keep back its last few samples.
    wanted_s = (positions + 0.5) * plan.chunk_ms / 1000
    which = np.searchsorted(ends, wanted_s * intake.ear.rate_hz)
    back_at_s = np.append(np.array(arrivals.at_s), math.inf)[which]
    return np.asarray(1000 * (back_at_s - due_s), np.float64)


def _likeness(record: Record, track: str, n_chunks: int, returned: Int16Array) -> Likeness:
    plan, ear = record.plan, record.intake.ear
    if plan.keep == "figures" or not n_chunks or not len(returned):
        return Likeness(None, None)
    try:
        sent = _decoded(plan, record.voices[track], n_chunks)
    except CodecError:
        return Likeness(None, None)
    return compare(at_rate(Audio(sent, plan.in_rate_hz), ear.rate_hz), returned, ear.rate_hz)


def _decoded(plan: CallPlan, lap: Sequence[bytes], n_chunks: int) -> Int16Array:
    """Return the sent audio as a server without faults would decode it."""
    decoder = codec(plan.codec).decoder(plan.in_rate_hz)
    return np.concatenate([decoder.decode(lap[k % len(lap)]) for k in range(n_chunks)])


def compare(sent: Int16Array, returned: Int16Array, rate_hz: int) -> Likeness:
    """Return lag and sound-to-noise ratio of ``returned``, both int16 ``(n,)`` at one rate.

    The ratio is infinite only where all that was sent came back, unchanged and in time.
    """
    if len(returned) >= len(sent) and np.array_equal(sent, returned[: len(sent)]):
        return Likeness(0.0, math.inf)
    lag = best_lag(sent[: _LAG_WINDOW_S * rate_hz], returned[: _LAG_WINDOW_S * rate_hz], rate_hz)
    sent, returned = sent[max(0, -lag) :], returned[max(0, lag) :]
    n_samples = min(len(sent), len(returned))
    wanted = sent[:n_samples].astype(float)
    noise = float(np.sum((returned[:n_samples] - wanted) ** 2))
    power = float(np.sum(wanted**2))
    if not power or not noise:
        # All that came back is exact, but some is missing: a ratio would not show that.
        return Likeness(1000 * lag / rate_hz, None)
    return Likeness(1000 * lag / rate_hz, 10 * math.log10(power / noise))


def best_lag(sent: Int16Array, returned: Int16Array, rate_hz: int) -> int:
    """Return the delay in samples, ``MAX_LAG_S`` at most, at which the two agree best.

    It is negative where the beginning of what was sent is missing from what came back.
    """
    size = 1 << (len(sent) + len(returned)).bit_length()
    spectrum = np.conj(np.fft.rfft(sent, size)) * np.fft.rfft(returned, size)
    # Negative delays are at the end of a circular correlation: turn them to the front.
    most = int(MAX_LAG_S * rate_hz)
    correlation = np.roll(np.fft.irfft(spectrum, size), most)[: 2 * most + 1]
    return int(np.argmax(correlation)) - most
