"""What of the caller's track is not the bot's own echo, of many calls at once. Pure.

Both tracks are looked at in bands of some 190 Hz, every 16 ms. Rules:

1. *Delay*: the levels of the bands, as they were sent, are compared with those that come, over
   delays of 0 to 1.5 s; the last seconds count most. The delay is where they go together best.
2. *Loss*: the median, in each band, of what comes less what was sent one delay before. A caller
   who speaks over the bot moves a median little.
3. What is louder than the echo to be expected, and than the noise, each by a margin, is not
   explained. The three bands that are so most are what is told.
4. While no delay is certain, any sound of the last 1.5 s may be the echo. The loss of the loudest
   of them is learned as well; it begins with that of the worst telephones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mediaserver.media.frames import Int16Array

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Arrays = dict[str, npt.NDArray[Any]]

RATE_HZ = 8000
WINDOW, HOP = 256, 128
N_LAGS = 94  # hops in 1.5 s
FIRST_BIN, BINS, N_BANDS = 6, 6, 19  # 190 to 3750 Hz
FLOOR_DB = -75.0
START_LOSS_DB = -3.0
START_NOISE_DB = -55.0
SENT_DB = -60.0
"""A band that was sent louder than this can be heard as an echo."""

# Found with `benchmarks/barge_in.py`, on the half for development.
MARGIN_DB, UNSURE_MARGIN_DB, NOISE_MARGIN_DB = 8.0, 4.0, 6.0
CERTAIN, SURE_AFTER = 0.2, 40
MEMORY, MEAN_MEMORY, DOUBT = 0.995, 0.98, 20000.0
STEP_DB, FAST, FAST_MOST, NOISE_STEP_DB, STRONG_DB, TAIL_DB = 0.04, 10.0, 30.0, 0.3, 18.0, 5.0
# While a caller speaks less is learned: above so many dB, of all bands together.
NEAR_DB, NEAR_MEMORY, NEAR_STEP = 1.0, 0.3, 0.2
MOST_DB = 25.0
N_TOP = 3
LASTING = 75  # hops
FAST_HOPS, SETTLED_HOPS = 90, 120
NEAR_LAGS, FAR_LAGS, BETTER = 3, 3, 0.03
LEARN_FROM = 20

_TAPER = np.sqrt(np.hanning(WINDOW + 1)[:-1]).astype(np.float32)
_SHAPES: dict[str, tuple[int, ...]] = {
    "heard_tail": (HOP,),
    "sent_tail": (HOP,),
    "sent_db": (N_LAGS, N_BANDS),
    "sent_mean": (N_BANDS,),
    "heard_mean": (N_BANDS,),
    "together": (N_LAGS,),
    "sent_power": (N_LAGS,),
    "heard_power": (),
    "peak_db": (N_BANDS,),
    "loss_db": (N_BANDS,),
    "most_loss_db": (N_BANDS,),
    "tail_db": (N_BANDS,),
    "noise_db": (N_BANDS,),
    "near_db": (),
    "lag": (),
    "hops": (),
    "spoken": (),
    "settled": (),
    "since_lag": (),
}
STATE = {name: (shape, "f4") for name, shape in _SHAPES.items()}


def unexplained(heard: Int16Array, sent: Int16Array, state: Arrays) -> FloatArray:
    """How much louder than echo and noise the callers are.

    Args:
        heard: their tracks, int16 ``(calls, 256)``, 8 kHz.
        sent: what was at the ear meanwhile by the playout clock, of the same shape.
        state: as ``STATE``, a row for each call; changed in place.

    Returns:
        float32 ``(calls,)``, dB above what is explained, 0 to 25.
    """
    new = state["hops"] == 0
    if new.any():
        for name in ("sent_db", "sent_mean", "heard_mean", "peak_db", "tail_db"):
            state[name][new] = FLOOR_DB
        state["loss_db"][new] = state["most_loss_db"][new] = START_LOSS_DB
        state["noise_db"][new] = START_NOISE_DB
    state["hops"] += 1
    heard_db, sent_db = _levels(heard, state["heard_tail"]), _levels(sent, state["sent_tail"])
    found = [_hop(heard_db[:, n], sent_db[:, n], state) for n in range(WINDOW // HOP)]
    loudest: FloatArray = np.mean(found, axis=0)
    return loudest


def _levels(samples: Int16Array, tail: FloatArray) -> FloatArray:
    """The level of each band in dB, ``(calls, 2, N_BANDS)``; the tail of the window is kept."""
    whole = np.concatenate([tail, samples.astype(np.float32) / 32768], axis=1)
    tail[:] = whole[:, WINDOW:]
    hops = np.stack([whole[:, :WINDOW], whole[:, HOP:]], axis=1)
    last = FIRST_BIN + BINS * N_BANDS
    spectrum = np.fft.rfft(hops * _TAPER)[:, :, FIRST_BIN:last]
    power = (np.square(spectrum.real) + np.square(spectrum.imag)) * (16 / WINDOW**2)
    bands = power.reshape(len(samples), WINDOW // HOP, N_BANDS, BINS).mean(axis=3)
    found: FloatArray = np.maximum(10 * np.log10(bands + 1e-12), FLOOR_DB).astype(np.float32)
    return found


def _hop(heard_db: FloatArray, sent_db: FloatArray, state: Arrays) -> FloatArray:
    """Take the bands of one hop, each ``(calls, N_BANDS)``; dB that are not explained."""
    past, noise = state["sent_db"], state["noise_db"]
    past[:, 1:] = past[:, :-1].copy()
    past[:, 0] = sent_db
    state["peak_db"][:] = np.maximum(state["peak_db"] - 0.02, sent_db)
    most_db = past.max(axis=1)
    speaks = most_db.max(axis=1) > SENT_DB
    # Long enough for its echo to have come.
    lasts = speaks & (past[:, LASTING:].max(axis=(1, 2)) > SENT_DB)
    certain, lag = _delay(heard_db, speaks, lasts, state)
    rows = np.arange(len(lag))
    # A delay moves by some hops from one sentence to the next; and a room rings.
    around = np.clip(lag[:, None] + np.arange(-NEAR_LAGS, NEAR_LAGS + 1), 0, N_LAGS - 1)
    near = past[rows[:, None], around].max(axis=1)
    state["tail_db"][:] = np.maximum(near, state["tail_db"] - TAIL_DB)
    _follow(noise, heard_db, 0.15, NOISE_STEP_DB, np.True_)
    is_sure = (certain > CERTAIN) & (state["since_lag"] > SURE_AFTER)
    expected = np.where(
        is_sure[:, None],
        state["tail_db"] + state["loss_db"] + MARGIN_DB,
        most_db + state["most_loss_db"] + UNSURE_MARGIN_DB,
    )
    over = np.clip(heard_db - np.maximum(expected, noise + NOISE_MARGIN_DB), 0, MOST_DB)
    state["near_db"][:] = np.minimum(over, 12).mean(axis=1)
    state["settled"] += lasts
    _learn(heard_db, most_db, speaks, lasts, state)
    top: FloatArray = np.partition(over, N_BANDS - N_TOP, axis=1)[:, -N_TOP:].mean(axis=1)
    return top


def _learn(
    heard_db: FloatArray, most_db: FloatArray, speaks: BoolArray, lasts: BoolArray, state: Arrays
) -> None:
    """Move both losses; fast as long as they are new."""
    slow = np.where(state["near_db"] > NEAR_DB, NEAR_STEP, 1.0)
    strong_db = state["peak_db"] - STRONG_DB
    step = STEP_DB * np.where(state["since_lag"] < FAST_HOPS, FAST, slow)[:, None]
    where = speaks[:, None] & (state["tail_db"] > strong_db)
    _follow(state["loss_db"], heard_db - state["tail_db"], 0.5, step, where)
    step = STEP_DB * np.where(state["settled"] < SETTLED_HOPS, FAST_MOST, slow)[:, None]
    where = lasts[:, None] & (most_db > strong_db)
    _follow(state["most_loss_db"], heard_db - most_db, 0.9, step, where)
    for name in ("loss_db", "most_loss_db"):
        np.minimum(state[name], START_LOSS_DB, out=state[name])


def _follow(tracked: FloatArray, found: FloatArray, quantile: float, step: Any, where: Any) -> None:
    """Move towards a quantile of what is found."""
    moved = np.where(found > tracked, step * quantile, -step * (1 - quantile)) * 2
    tracked += np.where(where, moved, 0).astype(np.float32)


def _delay(
    heard_db: FloatArray, speaks: BoolArray, lasts: BoolArray, state: Arrays
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """How certain the delay is, 0 to 1, and its number of hops."""
    past = state["sent_db"]
    heard_db = np.maximum(heard_db, state["noise_db"] + 6.0)
    state["spoken"] += speaks
    # A mean at first, then one that forgets.
    memory = np.minimum(MEAN_MEMORY, 1 - 1 / np.maximum(state["spoken"], 1))[:, None]
    for name, now in (("heard_mean", heard_db), ("sent_mean", past[:, 0])):
        moved = memory * state[name] + (1 - memory) * now
        state[name][:] = np.where(speaks[:, None], moved, state[name])
    heard = np.clip(heard_db - state["heard_mean"], -15, 15)
    sent = np.clip(past - state["sent_mean"][:, None, :], -15, 15)
    # The silence before the bot's first word is like any echo that has not come.
    sent *= (np.arange(N_LAGS) < state["spoken"][:, None])[:, :, None]
    weight = speaks * (state["spoken"] > LEARN_FROM)
    new = np.where(state["near_db"] > NEAR_DB, NEAR_MEMORY, 1.0) * weight
    keep = 1 - (1 - MEMORY) * new
    together = np.einsum("clb,cb->cl", sent, heard)
    powers = np.einsum("clb,clb->cl", sent, sent)
    state["together"][:] = keep[:, None] * state["together"] + new[:, None] * together
    state["heard_power"][:] = keep * state["heard_power"] + new * np.square(heard).sum(axis=1)
    state["sent_power"][:] = keep[:, None] * state["sent_power"] + new[:, None] * powers
    scale = np.sqrt(state["sent_power"] * state["heard_power"][:, None]) + DOUBT
    return _choose_lag(state["together"] / scale, lasts, state)


def _choose_lag(
    alike: FloatArray, lasts: BoolArray, state: Arrays
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Stay with the delay, unless another one is better."""
    rows = np.arange(len(alike))
    best = alike.argmax(axis=1)
    lag = state["lag"].astype(np.intp)
    is_other = alike[rows, best] > alike[rows, lag] + BETTER
    is_far = is_other & (np.abs(best - lag) > FAR_LAGS)
    state["since_lag"][:] = np.where(is_far, 0, state["since_lag"] + lasts)
    state["loss_db"][is_far] = START_LOSS_DB
    lag = np.where(is_other, best, lag)
    state["lag"][:] = lag
    return alike[rows, lag], lag
