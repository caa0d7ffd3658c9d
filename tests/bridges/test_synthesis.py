from __future__ import annotations

from typing import Any

import pytest

from mediaserver import Call
from mediaserver.bridges import ServiceDownError, ServiceRefusedError, Synthesis, Voice
from mediaserver.testing import SynthesisService
from tests.bridges.on_call import QUICK, on_call
from tests.examples.agents import KEYS, heard_s

KEY = KEYS["CARTESIA_API_KEY"]
TEXT = "Hello there."  # 0.72 s of the stand-in's hum


def speaking(service: SynthesisService, text: str = TEXT) -> Any:
    """A handler that says one thing."""

    async def handle(call: Call) -> tuple[str, float]:
        async with Synthesis(call, Voice("voice-id", url=service.url), QUICK) as mouth:
            speech = mouth.say(text)
            return await speech.finished(), speech.heard

    return handle


async def test_a_text_is_heard_to_its_end() -> None:
    """In one piece, at the call's own rate."""
    async with SynthesisService(KEY) as service, on_call(speaking(service)) as on:
        assert await on.result() == ("played", pytest.approx(0.72, abs=0.05))
        assert abs(heard_s(on.call, 300) - 0.72) < 0.06
        assert list(service.said.values()) == [TEXT]
        assert service.problems == []


async def test_a_text_can_be_written_in_pieces_and_be_cut() -> None:
    """Behind the caller's interruption nothing is taken, and the service is told."""

    async def handle(call: Call) -> list[bool]:
        async with Synthesis(call, Voice("voice-id", url=service.url), QUICK) as mouth:
            speech = mouth.say()
            taken = [speech.write(piece) for piece in ("Hello ", "there, how are you ", "today?")]
            async for _ in call.frames():
                if heard_s(on.call, 300) > 0.3:
                    break
            await call.clear()
            taken.append(speech.write("more"))
            speech.end()
            await service.wait_until(lambda: service.cancelled)
            return taken

    async with SynthesisService(KEY) as service, on_call(handle) as on:
        assert await on.result() == [True, True, True, False]
        assert list(service.said.values()) == ["Hello there, how are you today?"]
        assert service.cancelled == list(service.said)
        assert service.problems == []


async def test_a_lost_connection_says_again_what_was_not_begun() -> None:
    """What was begun ends where it is; each text is said once."""
    async with SynthesisService(KEY) as service, on_call(speaking(service)) as on:
        service.delay_s = 0.5
        await service.wait_until(lambda: service.said)
        service.cut()
        assert await on.result() == ("played", pytest.approx(0.72, abs=0.05))
        assert abs(heard_s(on.call, 300) - 0.72) < 0.06
        assert service.n_connections == 2


async def test_a_request_that_failed_is_made_once_more() -> None:
    """503 once: it is heard. 503 twice: down. 400: refused."""
    async with SynthesisService(KEY) as service:
        service.fail_status = [503, 503]  # both inputs of the context
        async with on_call(speaking(service)) as on:
            assert await on.result() == ("played", pytest.approx(0.72, abs=0.05))
        service.fail_status = [503] * 4
        async with on_call(speaking(service)) as on:
            with pytest.raises(ServiceDownError, match="as the test wants it"):
                await on.result()
        service.fail_status = [400]
        async with on_call(speaking(service)) as on:
            with pytest.raises(ServiceRefusedError):
                await on.result()


async def test_a_service_that_never_speaks_is_down() -> None:
    """The text was whole, and no audio comes."""
    async with SynthesisService(KEY) as service, on_call(speaking(service)) as on:
        service.is_mute = True
        with pytest.raises(ServiceDownError, match="does not answer"):
            await on.result()
