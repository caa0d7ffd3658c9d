"""Utterances are whole: with what came before the detection, cut where the silence says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.media.frames import Frame
from mediaserver.processors.api import Utterance
from mediaserver.processors.events import Dtmf, Event, SpeechStarted, SpeechStopped
from mediaserver.processors.utterances import (
    MAX_UTTERANCE_S,
    UtteranceCutter,
    check_detector,
    utterances,
)

RATE_HZ = 8000


def frames(from_s: float, to_s: float) -> Iterator[Frame]:
    """Frames of 20 ms whose samples count hundredths of a second."""
    for index in range(round(from_s * 50), round(to_s * 50)):
        at = index * 160 + np.arange(160)
        yield Frame((at // 80).astype(np.int16), RATE_HZ, "inbound", index, index * 0.02)


def cut(told: dict[float, Event], until_s: float, cutter: UtteranceCutter) -> list[Utterance]:
    """What a cutter gives when events are told at these times."""
    found = []
    waiting = sorted(told.items())
    for frame in frames(0, until_s):
        while waiting and waiting[0][0] <= frame.start + 1e-9:
            cutter.heard(waiting.pop(0)[1])
        utterance = cutter.push(frame)
        if utterance is not None:
            found.append(utterance)
    return found


def test_call_heard_for_each_event_push_for_each_frame_flush_at_the_end() -> None:
    """The pre-roll is complete though the start is told late, and the end is where it was."""
    told: dict[float, Event] = {1.3: SpeechStarted(1.05), 2.3: SpeechStopped(2.0, 0.95)}
    cutter = UtteranceCutter(0.8, 0.4)
    (found,) = cut(told, 4.0, cutter)
    assert found.start == pytest.approx(0.65)
    assert (found.samples[0], found.samples[-1]) == (65, 219)
    assert len(found.samples) == round((2.2 - 0.65) * RATE_HZ)
    assert (found.speech_start, found.speech_end, found.is_whole) == (1.05, 2.0, True)
    assert cutter.flush() is None


def test_a_short_pause_ends_nothing_and_a_long_one_does() -> None:
    """Speech that goes on within the silence belongs to it; what follows is another one, without
    what was given already."""
    told: dict[float, Event] = {
        1.1: SpeechStarted(1.0),
        1.5: SpeechStopped(1.3, 0.3),
        1.75: SpeechStarted(1.7),
        2.5: SpeechStopped(2.2, 0.5),
        2.6: Dtmf("1"),
        2.9: SpeechStarted(2.8),
        3.5: SpeechStopped(3.2, 0.4),
    }
    first, second = cut(told, 5.0, UtteranceCutter(0.5, 1.0))
    assert (first.start, first.speech_start, first.speech_end) == (0.0, 1.0, 2.2)
    assert (second.start, second.speech_start, second.speech_end) == (pytest.approx(2.4), 2.8, 3.2)
    assert (first.samples[-1], second.samples[0]) == (239, 240)


def test_the_end_of_the_call_gives_what_was_begun() -> None:
    """Not whole, unless its end was told."""
    cutter = UtteranceCutter(0.8, 0.4)
    assert cutter.flush() is None
    assert not cut({1.2: SpeechStarted(1.0)}, 2.0, cutter)
    found = cutter.flush()
    assert found is not None
    assert (found.speech_end, found.is_whole) == (pytest.approx(2.0), False)
    assert found.samples[-1] == 199
    cutter = UtteranceCutter(0.8, 0.4)
    told: dict[float, Event] = {1.2: SpeechStarted(1.0), 1.8: SpeechStopped(1.5, 0.5)}
    assert not cut(told, 2.0, cutter)
    found = cutter.flush()
    assert found is not None
    assert (found.speech_end, found.is_whole) == (1.5, True)


def test_one_without_end_is_given_in_pieces() -> None:
    """A minute each, and nothing is lost between them."""
    found = cut({1.2: SpeechStarted(1.0)}, 2.5 * MAX_UTTERANCE_S, UtteranceCutter(0.8, 0.4))
    assert [each.is_whole for each in found] == [False, False]
    assert len(found[0].samples) == round((MAX_UTTERANCE_S + 0.4) * RATE_HZ)
    assert found[1].start == pytest.approx(found[0].speech_end)


def test_an_end_without_a_start_is_nothing() -> None:
    """As when the bot began to listen in the middle of it."""
    assert not cut({0.5: SpeechStopped(0.3, 0.2)}, 2.0, UtteranceCutter(0.2, 0.2))


async def test_they_come_as_an_iterator() -> None:
    """Events are read beside the frames; at the end comes what was begun."""
    told: dict[float, Event] = {
        1.3: SpeechStarted(1.0),
        1.8: SpeechStopped(1.5, 0.5),
        2.9: SpeechStarted(2.8),
    }
    now = 0.0

    async def stream() -> AsyncIterator[Frame]:
        nonlocal now
        for frame in frames(0, 3.2):
            now = frame.start
            yield frame

    def waiting() -> list[Event]:
        return [told.pop(at) for at in sorted(told) if at <= now + 1e-9]

    found = [each async for each in utterances(stream(), lambda frame: frame, waiting, 0.5, 0.2)]
    assert [(each.speech_start, each.is_whole) for each in found] == [(1.0, True), (2.8, False)]


def test_somebody_must_detect_speech() -> None:
    """The chain has ``vad``, or one of the user's own whose name ends so."""
    check_detector(["record", "vad"])
    check_detector(["bots.py:MyVad", "bot"])
    with pytest.raises(ConfigurationError, match="need the processor `vad`"):
        check_detector(["bot"])


async def test_what_was_told_behind_the_last_frame_counts() -> None:
    """And a long silence before it is not kept."""
    told: list[Event] = [SpeechStarted(9.5), SpeechStopped(9.8, 0.3)]
    is_over = False

    async def stream() -> AsyncIterator[Frame]:
        nonlocal is_over
        for frame in frames(0, 10.0):
            yield frame
        is_over = True

    def waiting() -> list[Event]:
        return told if is_over else []

    found = [each async for each in utterances(stream(), lambda frame: frame, waiting, 0.5, 9.0)]
    (only,) = found
    assert (only.speech_start, only.speech_end, only.is_whole) == (9.5, 9.8, True)
    assert only.start == pytest.approx(0.5)
    cutter = UtteranceCutter(0.5, 0.4)
    assert not cut({}, 10.0, cutter)
    cutter.heard(SpeechStarted(9.9))
    rest = cutter.flush()
    assert rest is not None
    assert rest.start == pytest.approx(9.5)


async def test_nothing_said_gives_nothing() -> None:
    """The iterator ends with the call."""

    async def stream() -> AsyncIterator[Frame]:
        for frame in frames(0, 1.0):
            yield frame

    found = [each async for each in utterances(stream(), lambda frame: frame, list, 0.5, 0.4)]
    assert not found
