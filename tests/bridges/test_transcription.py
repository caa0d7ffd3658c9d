from __future__ import annotations

from typing import Any

import pytest

from mediaserver import Call
from mediaserver.bridges import ServiceDownError, Transcript, Transcription, TranscriptionSession
from mediaserver.testing import TranscriptionService
from tests.bridges.on_call import QUICK, on_call
from tests.examples.agents import KEYS, speak, tone

KEY = KEYS["DEEPGRAM_API_KEY"]


def test_the_url_has_the_documented_parameters() -> None:
    """And what you add; the end of an utterance is only told with interim results."""
    assert TranscriptionSession(more={"keyterm": "Telnyx"}).query(8000) == {
        "encoding": "linear16",
        "sample_rate": "8000",
        "channels": "1",
        "model": "nova-3",
        "language": "en",
        "interim_results": "true",
        "endpointing": "300",
        "smart_format": "true",
        "utterance_end_ms": "1000",
        "keyterm": "Telnyx",
    }
    assert "utterance_end_ms" not in TranscriptionSession(interim=False).query(8000)


def listening(service: TranscriptionService) -> Any:
    """A handler that collects what is said."""

    async def handle(call: Call) -> list[Transcript]:
        session = TranscriptionSession(url=service.url)
        async with Transcription(call, session, limits=QUICK._replace(answer_s=2.0)) as heard:
            return [transcript async for transcript in heard]

    return handle


async def test_turns_come_as_they_end_and_the_last_one_with_the_call() -> None:
    """Interim texts may come before; of what is begun at the call's end the service tells too."""
    lines = ["good morning", "I would like to"]
    async with TranscriptionService(lines, KEY) as service, on_call(listening(service)) as on:
        await speak(on.caller, 0.2)
        await service.wait_until(lambda: service.heard_s > 0.8)
        on.caller.begin(tone(20.0, 8000), 8000)
        await service.wait_until(lambda: service.n_lines == 2)
        await on.call.hang_up()
        found = await on.result()
        assert isinstance(found, list)
        turns = [each for each in found if each.turn]
        assert [each.turn for each in turns] == lines
        assert 0.0 < turns[0].start < 0.6
        assert turns[0].is_final
        assert [message["type"] for message in service.messages] == ["CloseStream"]
        assert service.problems == []


async def test_what_was_said_before_a_lost_connection_is_not_lost() -> None:
    """Times go on behind it."""
    async with TranscriptionService(["one", "two"], KEY) as service:
        async with on_call(listening(service)) as on:
            await speak(on.caller, 0.2)
            await service.wait_until(lambda: service.heard_s > 0.8)
            service.cut()
            await service.wait_until(lambda: service.n_connections == 2)
            await speak(on.caller, 0.2)
            await service.wait_until(lambda: service.n_lines == 2)
            await on.call.hang_up()
            found = await on.result()
            assert isinstance(found, list)
            turns = [each for each in found if each.turn]
            assert [each.turn for each in turns] == ["one", "two"]
            assert turns[1].start > 0.8


async def test_a_service_that_says_nothing_is_given_up() -> None:
    """It says something about each second of audio, if it works."""
    async with TranscriptionService([], KEY) as service, on_call(listening(service)) as on:
        service.is_mute = True
        with pytest.raises(ServiceDownError, match="says nothing"):
            await on.result()
