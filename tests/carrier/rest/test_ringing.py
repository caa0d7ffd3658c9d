"""A call that rings: its socket is open, and only an answer brings ``start`` (protocol.md 1.3)."""

from __future__ import annotations

import pytest

from mediaserver.carrier.rest.habits import Habits
from tests.carrier.rest.raw import raw


async def test_the_socket_opens_while_the_call_rings() -> None:
    """``connected`` at once; ``start``, ``streaming.started`` and media once it is answered."""
    async with raw(habits=Habits(answer_after_s=0.4)) as r:
        call = await r.dial(stream_url=r.media_url, stream_track="inbound_track")
        await r.until(lambda: r.wire == ["connected"])
        assert r.types() == ["call.initiated"]
        await r.until(lambda: "media" in r.wire)
        assert r.wire[:2] == ["connected", "start"]
        assert r.wire.count("connected") == r.wire.count("start") == 1
        await r.until_event("streaming.started")
        assert r.types() == ["call.initiated", "call.answered", "streaming.started"]
        line = r.call(call).stream.line  # type: ignore[union-attr]  # it streams
        assert line is not None
        # Ringing is not caught up with: the media goes out in its own time.
        assert max(line.record.sent.late_s) < 0.3
        await r.act(call, "hangup")
        await r.until(lambda: r.closed == [1000])
        assert r.wire[-1] == "stop"


@pytest.mark.parametrize("habits", [Habits(answer="never", ring_s=0.2), Habits(answer_after_s=60)])
async def test_a_call_nobody_answers_is_cut(habits: Habits) -> None:
    """After ringing the socket is gone, without ``start``, ``stop`` and a close message."""
    async with raw(habits=habits) as r:
        call = await r.dial(stream_url=r.media_url)
        await r.until(lambda: "connected" in r.wire)
        if habits.answer == "yes":
            r.call(call).hang_up("unknown", "timeout")
        hung_up = await r.until_event("call.hangup")
        await r.until(lambda: bool(r.closed))
        assert (r.wire, r.closed) == (["connected"], [1006])
        assert (hung_up["hangup_cause"], hung_up["hangup_source"]) == ("timeout", "unknown")
        assert r.types() == ["call.initiated", "call.hangup"]
        assert await r.refused(call, "speak", payload="a", voice="b") == (422, "90018")


async def test_a_caller_who_gives_up_cuts_it_too() -> None:
    """``hangup`` while it rings: ``originator_cancel``, and no message on the socket."""
    async with raw(habits=Habits(answer="never")) as r:
        call = await r.dial(stream_url=r.media_url, timeout_secs=600)
        await r.until(lambda: "connected" in r.wire)
        assert await r.refused(call, "streaming_stop") == (422, "90034")
        await r.act(call, "hangup")
        assert (await r.until_event("call.hangup"))["hangup_cause"] == "originator_cancel"
        await r.until(lambda: r.closed == [1006])
        assert r.wire == ["connected"]


async def test_a_call_that_gets_no_command_is_hung_up() -> None:
    """One that comes in, also where all commands were refused; one that was commanded is not."""
    async with raw(habits=Habits(first_command_s=2.0)) as r:
        commanded, refused = (r.fake.ring().call_control_id for _ in range(2))
        await r.act(commanded, "answer")
        assert await r.refused(refused, "speak", payload="a", voice="b") == (422, "90034")
        hung_up = await r.until_event("call.hangup")
        assert (hung_up["call_control_id"], hung_up["hangup_cause"]) == (refused, "timeout")
        assert r.call(commanded).state == "answered"


@pytest.mark.parametrize("timeout_secs", [5, 600])
async def test_the_time_to_ring_has_limits(timeout_secs: int) -> None:
    """``timeout_secs`` is from 5 to 600."""
    async with raw(habits=Habits(answer="never")) as r:
        await r.dial(timeout_secs=timeout_secs)
        beyond = timeout_secs + (1 if timeout_secs == 600 else -1)
        body = {"connection_id": "c", "from": "+1", "to": "+2", "timeout_secs": beyond}
        status, answer = await r.post("/calls", body)
        assert (status, answer["errors"][0]["code"]) == (422, "10033")
        assert answer["errors"][0]["source"] == {"pointer": "/timeout_secs"}


async def test_with_early_establishment_start_does_not_wait() -> None:
    """``stream_establish_before_call_originate`` brings ``start`` before the answer."""
    async with raw(habits=Habits(answer="never")) as r:
        await r.dial(stream_url=r.media_url, stream_establish_before_call_originate=True)
        await r.until_event("streaming.started")
        await r.until(lambda: "start" in r.wire)
        assert "call.answered" not in r.types()


async def test_a_server_that_hangs_up_while_it_rings_is_reported() -> None:
    """The socket may be closed by the server: the stream has failed, and is not tried again."""
    async with raw(habits=Habits(answer_after_s=0.5)) as r:
        await r.dial(stream_url="ws://127.0.0.1:1/media")
        await r.until_event("streaming.failed")
        await r.until_event("call.answered")
        await r.fake.webhooks.flush()
        assert r.types().count("streaming.failed") == 1
        assert "streaming.started" not in r.types()
