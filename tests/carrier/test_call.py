"""Fake calls over real sockets, against servers that speak the protocol's literals."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from base64 import b64decode, b64encode
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from mediaserver.carrier import CallPlan, FakeCall, Faults, Progress, place_call, place_calls
from mediaserver.carrier.call import TOO_SLOW
from mediaserver.carrier.plan import PlanError
from mediaserver.carrier.script import voices

from .conftest import Server, ServerAt

SILENCE_20_MS = b64encode(b"\xff" * 160).decode()


def media(n_chunks: int) -> str:
    payload = b64encode(b"\x00" * 160 * n_chunks).decode()
    return json.dumps({"event": "media", "media": {"payload": payload}})


@pytest.mark.parametrize(("name", "rate_hz"), [("PCMU", 8000), ("PCMA", 8000), ("L16", 16000)])
async def test_an_echo_comes_back_exact(server_at: ServerAt, name: str, rate_hz: int) -> None:
    """Over a real socket every chunk returns, bit by bit, and the call ends in order."""
    async with server_at("echo") as server:
        plan = CallPlan(codec=name, rate_hz=rate_hz, seconds=0.4, linger_s=5)
        report = await place_call(server.url, plan)
    assert report.problem is None
    assert report.echo_problem is None
    assert (report.sent, report.returned, report.lost) == (20, 20, 0)
    assert report.bit_exact
    assert (report.close_code, report.hung_up) == (1000, True)
    assert report.heard is not None
    assert report.heard.n_fed == 0.4 * rate_hz
    lap = voices(plan)["inbound"]
    assert [b64decode(m["media"]["payload"]) for m in server.events("media")] == list(lap)


async def test_stored_frames_need_no_encoder(server_at: ServerAt) -> None:
    """The shipped speech goes out as AMR-WB anywhere, one frame of 20 ms per message."""
    async with server_at("echo") as server:
        plan = CallPlan(codec="AMR-WB", send_codec="AMR-WB", seconds=0.2, linger_s=5)
        report = await place_call(server.url, plan)
    assert (report.sent, report.lost, report.bit_exact) == (10, 0, True)
    payloads = [b64decode(m["media"]["payload"]) for m in server.events("media")]
    assert {(len(payload), payload[0]) for payload in payloads} == {(33, 0xF1)}


async def test_the_order_of_things(server_at: ServerAt) -> None:
    """connected, start "1", media and dtmf numbered on, stop (protocol.md 1.1, 1.3)."""
    async with server_at("listen") as server:
        plan = CallPlan(seconds=0.1, dtmf=[(0.05, "7")], linger_s=0, announced_rate_hz=16000)
        report = await place_call(server.url, plan)
    names = [message["event"] for message in server.got]
    assert names == ["connected", "start", *["media"] * 3, "dtmf", "media", "media", "stop"]
    assert [m["sequence_number"] for m in server.got[1:]] == [str(n) for n in range(1, 9)]
    start = server.got[1]
    assert start["stream_id"] == plan.stream_id
    assert start["start"]["call_control_id"] == plan.call_control_id
    assert start["start"]["media_format"] == {
        "encoding": "PCMU",
        "sample_rate": 16000,
        "channels": 1,
    }
    chunks = [(m["media"]["chunk"], m["media"]["timestamp"]) for m in server.events("media")]
    assert chunks == [("1", "0"), ("2", "20"), ("3", "40"), ("4", "60"), ("5", "80")]
    assert server.events("dtmf")[0]["dtmf"] == {"digit": "7"}
    assert (report.dtmf, report.returned, report.lost) == ("7", 0, 5)


async def test_a_token_goes_in_header_and_message(server_at: ServerAt) -> None:
    """The token arrives in the handshake and nested in connected (protocol.md 1.1)."""
    name = "x-telnyx-streaming-auth-token"
    async with server_at("listen") as server:
        await place_call(server.url, CallPlan(seconds=0, token="t0ken"))
        await place_call(server.url, CallPlan(seconds=0))
    first, second = server.sockets
    assert first.request is not None
    assert second.request is not None
    assert first.request.headers[name] == "t0ken"
    assert name not in second.request.headers
    assert [m.get("connected") for m in server.events("connected")] == [{name: "t0ken"}, None]


async def test_marks_come_back_when_reached_and_on_clear(server_at: ServerAt) -> None:
    """A mark waits for the audio before it; a clear gives the rest back at once."""

    async def bot(server: Server, sock: ServerConnection) -> None:
        async for message in server.messages(sock):
            if message["event"] == "start":
                await sock.send('{"event":"mark","mark":{"name":"idle"}}')
                await sock.send(media(5))
                await sock.send('{"event":"mark","mark":{"name":"heard"}}')
                await sock.send(media(500))
                await sock.send('{"event":"mark","mark":{"name":"cleared"}}')
            if message["event"] == "mark" and message["mark"]["name"] == "heard":
                await sock.send('{"event":"clear"}')

    async with server_at(bot) as server, FakeCall.connect(server.url) as call:
        mark = await call.wait_for_mark("cleared")
        assert mark.cleared
        heard = await call.wait_for_mark("heard")
        assert not heard.cleared
        assert heard.at_s >= call.intake.ear.runs[0].start_s + 0.1
        await server.seen("mark", 3)
    assert [m["mark"]["name"] for m in server.events("mark")] == ["idle", "heard", "cleared"]
    assert all(m["stream_id"] == call.stream_id for m in server.events("mark"))
    report = call.report()
    assert (report.marks, report.cleared_marks, report.clears) == (2, 1, 1)
    (cut,) = call.intake.ear.cuts
    assert call.intake.ear.end_s == pytest.approx(cut.at_s, abs=1e-3)
    assert cut.n_samples > 0


@pytest.mark.parametrize("shape", ["payload", "error"])
async def test_errors_are_reported_in_either_shape(server_at: ServerAt, shape: Any) -> None:
    """A message the far end cannot take is answered with an error of the shape asked for."""

    async def clumsy(server: Server, sock: ServerConnection) -> None:
        await sock.send("hello")
        await sock.send('{"event":"media","media":{"payload":"?"}}')
        async for _ in server.messages(sock):
            pass

    async with server_at(clumsy) as server:
        plan = CallPlan(error_shape=shape)
        async with FakeCall.connect(server.url, plan) as call:
            await server.seen("error", 2)
    codes = [int(m[shape]["code"]) for m in server.events("error")]
    assert codes == [100003, 100004]
    assert call.report().errors == (100003, 100004)
    assert call.report().problem == "errors 100003, 100004"


async def test_a_call_hangs_up_when_told(server_at: ServerAt) -> None:
    """hang_up_at ends the media early, and lengthens a call that has said all."""
    async with server_at("echo") as server:
        early = await place_call(server.url, CallPlan(seconds=5, hang_up_at_s=0.2))
        late = await place_call(server.url, CallPlan(seconds=0.02, hang_up_at_s=0.2))
    assert 1 <= early.sent < 250
    assert (early.problem, late.problem, late.sent) == (None, None, 1)
    assert len(server.events("stop")) == 2


async def test_a_server_that_closes_ends_the_call(server_at: ServerAt) -> None:
    """Its close code and reason are what the report says."""

    async def leaves(server: Server, sock: ServerConnection) -> None:
        async for message in server.messages(sock):
            if message["event"] == "media":
                await sock.close(1001, "drain")

    async with server_at(leaves) as server:
        report = await place_call(server.url, CallPlan(seconds=5))
    assert report.problem == "the server closed: 1001 drain"
    assert server.events("stop") == []


async def test_an_abrupt_close_says_nothing(server_at: ServerAt) -> None:
    """The connection is cut in the midst of the media, without stop or close."""
    async with server_at("echo") as server:
        faults = Faults(abrupt_close_at_s=0.1)
        report = await place_call(server.url, CallPlan(seconds=5, faults=faults))
        await server.sockets[0].wait_closed()
        assert server.sockets[0].close_code == 1006
    assert (report.close_code, report.problem) == (1006, None)
    assert server.events("stop") == []


async def test_a_call_that_rings_starts_when_it_is_answered(server_at: ServerAt) -> None:
    """connected, a pause, then start and media in their own time (protocol.md 1.3)."""
    async with server_at("listen") as server:
        began = asyncio.get_running_loop().time()
        report = await place_call(server.url, CallPlan(seconds=0.1, linger_s=0, ring_s=0.4))
        took_s = asyncio.get_running_loop().time() - began
    assert [m["event"] for m in server.got][:3] == ["connected", "start", "media"]
    assert [m["event"] for m in server.got].count("start") == 1
    assert report.sent == 5
    assert took_s >= 0.5 - 0.02


async def test_a_call_nobody_answers_says_connected_and_is_cut(server_at: ServerAt) -> None:
    """Neither start nor stop, and no closing handshake (protocol.md 1.3)."""
    async with server_at("listen") as server:
        report = await place_call(server.url, CallPlan(ring_s=0.1, answer="never"))
        [gone] = server.sockets
        await gone.wait_closed()
    assert [m["event"] for m in server.got] == ["connected"]
    assert (report.sent, gone.close_code) == (0, 1006)


def test_ringing_takes_no_negative_time() -> None:
    """A plan that cannot be is refused."""
    with pytest.raises(PlanError, match="ring_s"):
        CallPlan(ring_s=-1)


@pytest.mark.parametrize(
    ("numbering", "stream_id", "first"), [("restart", None, "1"), ("continue", "another", "6")]
)
async def test_a_reconnect_is_a_second_socket(
    server_at: ServerAt, numbering: Any, stream_id: str | None, first: str
) -> None:
    """The same call goes on over a new connection, numbers and stream id as planned."""
    plan = CallPlan(
        seconds=0.2,
        reconnect_at_s=0.09,
        reconnect_numbering=numbering,
        reconnect_stream_id=stream_id,
    )
    async with server_at("echo") as server:
        report = await place_call(server.url, plan)
    assert report.problem is None
    assert (report.reconnects, report.sent, len(server.sockets)) == (1, 10, 2)
    assert server.sockets[0].close_code == 1006
    second = server.got[[m["event"] for m in server.got].index("connected", 1) :]
    assert second[1]["event"] == "start"
    assert second[1]["sequence_number"] == "1"
    assert second[1]["start"]["call_control_id"] == plan.call_control_id
    assert {m["stream_id"] for m in second[1:]} == {stream_id or plan.stream_id}
    assert (second[2]["media"]["chunk"], second[2]["sequence_number"]) == (first, "2")


async def test_a_reconnect_that_fails_fails_the_call() -> None:
    """Where no second connection can be had the report says so."""
    refusing = False

    def gate(sock: ServerConnection, request: object) -> Any:
        return sock.respond(HTTPStatus.SERVICE_UNAVAILABLE, "full") if refusing else None

    async def listen(sock: ServerConnection) -> None:
        await sock.wait_closed()

    async with serve(listen, "127.0.0.1", 0, process_request=gate) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with FakeCall.connect(f"ws://127.0.0.1:{port}/") as call:
            refusing = True
            await call.reconnect()
            await call.closed.wait()
    problem = call.report().problem
    assert problem is not None
    assert problem.startswith("no connection: ")
    assert "503" in problem


async def test_no_connection_is_a_result() -> None:
    """A port where nobody listens gives a report that says so."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{held.getsockname()[1]}/"
        report = await place_call(url, CallPlan(seconds=1))
    assert report.problem is not None
    assert report.problem.startswith("no connection: ")
    assert report.sent == 0


async def test_a_call_can_be_driven_by_hand(server_at: ServerAt) -> None:
    """Tests may send anything, in any order, and wait for what comes of it."""
    async with server_at("echo") as server:
        plan = CallPlan(codec="L16", rate_hz=8000, first_chunk=0)
        async with FakeCall.connect(server.url, plan, greet=False) as call:
            await call.send({"event": "dance"})
            await call.greet()
            await call.send_audio(np.arange(160, dtype=np.int16))
            await call.send_audio(np.arange(160, 320, dtype=np.int16))
            await call.send_payload(b"\x01\x00" * 160, track="outbound")
            await call.press("#")
            await call.wait_until(lambda: len(call.intake.arrivals.at_s) == 3)
            back = call.intake.arrivals.audio()
            with pytest.raises(TimeoutError):
                await call.wait_until(lambda: False, timeout_s=0.01)
            assert call.progress() == Progress(0.06, 0.06, 8.64)
    assert [m["event"] for m in server.got[:3]] == ["dance", "connected", "start"]
    assert back.tolist() == [*range(320), *[1] * 160]
    assert [m["media"]["chunk"] for m in server.events("media")] == ["0", "1", "0"]
    assert len(call.received) == 3
    assert call.report().lost == 0
    await call.send("after the end nobody listens")
    await call.send_audio(np.zeros(160, np.int16))
    await call.hang_up()
    assert call.report().sent == 3


async def test_a_call_can_be_cut_by_hand(server_at: ServerAt) -> None:
    """A cut ends the call at once."""
    async with server_at("listen") as server, FakeCall.connect(server.url) as call:
        call.cut()
        await call.closed.wait()
    assert call.report().problem is None


async def test_hanging_up_ends_the_script(server_at: ServerAt) -> None:
    """Someone else may end a call while it speaks."""
    async with server_at("listen") as server, FakeCall.connect(server.url) as call:
        speaking = asyncio.create_task(call.speak())
        await server.seen("media")
        await call.hang_up()
        await speaking
    assert server.got[-1]["event"] == "stop"


async def test_many_calls_at_once_lose_and_mix_nothing(server_at: ServerAt) -> None:
    """Twenty calls through one server come back exact, each its own, with progress told."""
    told: dict[int, Progress] = {}
    plans = [CallPlan(codec=("PCMU", "PCMA")[k % 2], seconds=0.5, linger_s=5) for k in range(20)]
    async with server_at("echo") as server:
        reports = await place_calls(server.url, plans, on_progress=told.__setitem__)
    assert [report.plan for report in reports] == plans
    assert all(report.bit_exact and report.echo_problem is None for report in reports)
    assert set(told) == set(range(20))
    assert len({m["stream_id"] for m in server.events("stop")}) == 20


async def test_both_tracks_share_one_count(server_at: ServerAt) -> None:
    """With shared numbering the two tracks take turns."""
    async with server_at("listen") as server:
        plan = CallPlan(tracks="both", chunk_numbering="shared", seconds=0.06, linger_s=0)
        await place_call(server.url, plan)
    sent = [(m["media"]["track"], m["media"]["chunk"]) for m in server.events("media")]
    assert sent == [("inbound", "1"), ("outbound", "2"), ("inbound", "3"), ("outbound", "4"),
                    ("inbound", "5"), ("outbound", "6")]  # fmt: skip


async def test_faults_keep_each_chunks_numbers(server_at: ServerAt) -> None:
    """Shuffled, doubled and dropped chunks carry the numbers they had before."""
    async with server_at("listen") as server:
        faults = Faults(reorder_window=4, drop=0.2, duplicate=0.2)
        plan = CallPlan(seconds=1, faults=faults, linger_s=0)
        report = await place_call(server.url, plan)
    sent = server.events("media")
    assert len(sent) == report.sent
    assert all(int(m["sequence_number"]) == int(m["media"]["chunk"]) + 1 for m in sent)
    chunks = [int(m["media"]["chunk"]) for m in sent]
    assert chunks != sorted(chunks)
    assert len(set(chunks)) < min(50, len(chunks))
    assert report.round_trip_ms is None


async def test_a_server_that_does_not_read_makes_calls_late(server_at: ServerAt) -> None:
    """What a stall delays is caught up and on record as late, and nothing is skipped."""
    stall = Faults(stall=(0.02, 0.2))
    async with server_at("echo") as server:
        report = await place_call(server.url, CallPlan(seconds=0.3, faults=stall, linger_s=5))
    assert (report.sent, report.lost, report.bit_exact) == (15, 0, True)


async def test_a_caller_far_behind_gives_up(server_at: ServerAt) -> None:
    """A call whose own sender is late by more than its plan allows ends, and says why."""

    def stall(_: Progress) -> None:
        time.sleep(0.3)

    async with server_at("listen") as server:
        plan = CallPlan(seconds=5, give_up_s=0.1)
        report = await place_call(server.url, plan, on_progress=stall)
    assert report.problem == TOO_SLOW
    assert report.sent < 50


async def test_a_server_that_takes_nothing_is_not_the_callers_lateness(server_at: ServerAt) -> None:
    """The time that sending had to wait is on record apart."""

    async def deaf(server: Server, socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await asyncio.sleep(1)
        socket.transport.resume_reading()
        async for _ in server.messages(socket):
            pass

    async with server_at(deaf) as server:
        # Far more than the buffers of a socket hold.
        plan = CallPlan(payloads=[b"\xff" * 600_000], seconds=0.4, linger_s=0)
        report = await place_call(server.url, plan)
    assert report.sent == 20
    assert report.held_s > 0.1
    assert report.late_ms.max() < 1000 * report.held_s


async def test_an_error_in_progress_surfaces(server_at: ServerAt) -> None:
    """What the caller's own callback raises reaches the caller, and the call is ended."""

    def broken(_: Progress) -> None:
        raise ZeroDivisionError

    async with server_at("listen") as server:
        with pytest.raises(ZeroDivisionError):
            await place_call(server.url, CallPlan(seconds=1), on_progress=broken)
    assert server.got[-1]["event"] == "stop"


async def test_a_cancelled_call_hangs_up(server_at: ServerAt) -> None:
    """Cancelling place_call ends the call in order."""
    async with server_at("listen") as server:
        placing = asyncio.create_task(place_call(server.url, CallPlan(seconds=5)))
        await server.seen("media")
        placing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await placing
    assert server.got[-1]["event"] == "stop"
