from __future__ import annotations

import numpy as np
import pytest

from mediaserver import Call, ConfigurationError, ProcessorSetting, processor
from mediaserver.carrier import CallPlan
from mediaserver.testing.calls import called

TONE = (8000 * np.sin(np.arange(8000) / 4)).astype(np.int16)  # 0.5 s at 16 kHz


@processor
async def answering(call: Call, seconds: float = 0.5) -> None:
    """Says something when a key is pressed, and hangs up on the next one."""
    events = call.events()
    await anext(events)
    await call.play(TONE[: round(16_000 * seconds)], 16_000)
    await anext(events)
    await call.hangup()


async def test_a_call_in_one_line() -> None:
    """Keys, what is heard and for how long, the end."""
    async with called(answering, max_call_s=60) as caller:
        assert (caller.heard_s, caller.quiet_s) == (0.0, 0.0)
        await caller.press("1")
        await caller.until_quiet(0.3)
        assert abs(caller.heard_s - 0.5) <= 0.06
        assert np.abs(caller.heard).max() > 7000
        assert not caller.is_over
        await caller.press("2")
        await caller.until_over()
        assert caller.is_over


@pytest.mark.parametrize(("codec", "rate_hz"), [("PCMU", 8000), ("L16", 16_000)])
async def test_what_is_said_is_heard_by_the_bot(codec: str, rate_hz: int) -> None:
    """At any rate, in real time; an echo gives it back."""
    async with called("echo", plan=CallPlan(codec=codec)) as caller:
        begin_s = caller.call.now()
        await caller.say(TONE, 16_000)
        assert caller.call.now() - begin_s > 0.4
        await caller.until_heard(0.4)
        assert caller.rate == rate_hz
        await caller.hang_up()
        assert caller.call.record.close_code == 1000


async def test_a_processor_with_parameters_and_one_that_there_is_not() -> None:
    """As the server's settings take them."""
    async with called(ProcessorSetting(answering, {"seconds": 0.1})) as caller:
        await caller.press("1")
        await caller.until_quiet(0.3)
        assert caller.heard_s < 0.2
        with pytest.raises(TimeoutError):
            await caller.until_heard(1.0, within_s=0.1)
    with pytest.raises(ConfigurationError):
        async with called("no_such_processor"):
            pass
