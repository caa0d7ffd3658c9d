"""``start_forking(…, receive=True)``: this server receives what Telnyx forks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, Faults
from mediaserver.carrier.rest.faults import RestFault
from mediaserver.carrier.rest.habits import Habits
from mediaserver.control.errors import ApiError, InvalidFieldError
from mediaserver.control.events import ForkStopped
from mediaserver.errors import ConfigurationError
from mediaserver.history.call_store import CallStore
from mediaserver.server.calls.session import Session
from mediaserver.server.fork.receiver import Forks
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import ProcessorSetting, Settings
from tests.control.test_end_to_end import World, world
from tests.server.conftest import BOTS, bot
from tests.server.fork.forking import free_range
from tests.server.watching import soon

FORKBOTS = Path(__file__).parents[1] / "server/fork/forkbots.py"


def service_of(w: World) -> SingleProcessService:
    assert isinstance(w.server.service, SingleProcessService)
    return w.server.service


def forks_of(w: World) -> Forks:
    forks = service_of(w).forks
    assert forks is not None
    return forks


async def forked_session(w: World, call: str) -> Session:
    """The forked call's session, once both its tracks have come."""
    sessions = service_of(w).sessions
    await soon(lambda: call in sessions and sessions[call].is_listen_only, 30)
    session = sessions[call]
    await soon(lambda: len(session.inbound.tracks) == 2, 30)
    return session


def settings(**more: Any) -> dict[str, Any]:
    return {"fork_ports": free_range(2), "auto_restart": False, **more}


async def test_a_call_is_forked_to_this_server_and_stopped() -> None:
    """The ports are handed out, both tracks come, and the command to stop ends the call."""
    async with world(bot("listen"), echo=False, **settings()) as w:
        call = await w.dialled()
        await w.actions.start_forking(call, receive=True)
        session = await forked_session(w, call)
        (sent,) = [c for c in w.fake.commanded if c.command == "fork_start"]
        assert sent.body["rx"].startswith("udp:127.0.0.1:")
        assert sent.body["stream_type"] == "decrypted"
        assert set(session.inbound.tracks) == {"inbound", "outbound"}
        with pytest.raises(ConfigurationError, match="forked to this server already"):
            await w.actions.start_forking(call, receive=True)
        await w.actions.stop_forking(call)
        assert (session.end_reason, forks_of(w).n_ports) == ("stop", 0)


async def test_a_bot_has_its_own_call_forked(tmp_path: Path) -> None:
    """Its stream ends, the call goes on with another processor, and keeps what is known of it."""
    notes = tmp_path / "notes"
    forker = ProcessorSetting(f"{FORKBOTS}:forker", {"notes": str(notes)})
    async with world(forker, echo=False, offer=(bot("listen"),), **settings()) as w:
        call = await w.dialled()
        await w.actions.start_streaming(call)
        session = await forked_session(w, call)
        assert (session.facts.start.start.from_, session.facts.start.start.to) == ("+1", "+2")
        assert session.runner.names == (f"{BOTS}:listen",)
        await soon(lambda: "Stop(reason='stop')" in notes.read_text(), 20)
        w.fake.calls[call].hang_up()
        await soon(lambda: session.ended, 20)
        assert session.end_reason in ("stop", "hangup")
        await soon(lambda: forks_of(w).n_ports == 0, 20)
    assert notes.read_text().startswith("ok\n")


async def test_a_server_ends_while_a_call_is_forked_to_it() -> None:
    """Ports and call end once, and nobody waits."""
    async with world(bot("listen"), echo=False, **settings()) as w:
        call = await w.dialled()
        await w.actions.start_forking(call, receive=True)
        session = await forked_session(w, call)
        async with asyncio.timeout(30):
            await w.server.service.close()
        assert (session.end_reason, forks_of(w).n_ports) == ("shutdown", 0)


async def test_telnyx_says_that_a_fork_has_stopped() -> None:
    """The webhook ends the call at once."""
    async with world(bot("listen"), echo=False, **settings()) as w:
        call = await w.dialled()
        await w.actions.start_forking(call, receive=True)
        session = await forked_session(w, call)
        w.fake.calls[call].command("fork_stop", {"stream_type": "decrypted"})
        assert isinstance(await w.until_event("call.fork.stopped"), ForkStopped)
        await soon(lambda: session.ended, 20)
        assert session.end_reason == "stop"


async def test_ports_of_a_refused_fork_are_given_back() -> None:
    """And those of one that is refused before anything is sent."""
    async with world(echo=False, **settings()) as w:
        call = await w.dialled()
        w.fake.faults.add(RestFault("status", "fork_start", status=422, code="90034"))
        with pytest.raises(ApiError):
            await w.actions.start_forking(call, receive=True)
        with pytest.raises(InvalidFieldError):
            await w.actions.start_forking(call, receive=True, command_id="")
        assert forks_of(w).n_ports == 0


async def test_a_stream_takes_the_place_of_a_fork() -> None:
    """The forked session ends, and the stream's begins: never both."""
    async with world(bot("listen"), echo=False, **settings()) as w:
        call = await w.dialled()
        await w.actions.start_forking(call, receive=True)
        forked = await forked_session(w, call)
        w.fake.calls[call].command("fork_stop", {"stream_type": "decrypted"})
        await w.actions.start_streaming(call)
        sessions = service_of(w).sessions
        await soon(lambda: call in sessions and not sessions[call].is_listen_only, 20)
        assert forked.end_reason == "stop"


async def test_a_fork_is_not_started_again_as_a_stream(tmp_path: Path) -> None:
    """Nor is it kept for a server that comes after a crash."""
    state = tmp_path / "state.db"
    more = settings(auto_restart=True, state_file=str(state), fork_idle_s=1.0)
    async with world(bot("listen"), echo=False, **more) as w:
        call = await w.dialled()
        await w.actions.start_forking(call, receive=True)
        session = await forked_session(w, call)
        store = CallStore(state)
        assert not await store.live()
        await store.aclose()
        w.fake.calls[call].fork = None
        forking = w.fake.calls[call]._forking
        assert forking is not None
        forking.cancel()
        await soon(lambda: session.ended, 20)
        assert session.end_reason == "silent"
        assert [c.command for c in w.fake.commanded].count("streaming_start") == 0


async def test_the_fake_forks_with_faults() -> None:
    """Its habits say what is forked, and what goes wrong: here in G.722, with half of it lost."""
    async with world(bot("listen"), echo=False, **settings()) as w:
        plan = CallPlan(codec="G722", seconds=60, faults=Faults(drop=0.5))
        w.fake._habits = Habits(answer_after_s=0.0, fork_plan=plan)
        call = await w.dialled()
        await w.actions.start_forking(call, receive=True)
        session = await forked_session(w, call)
        assert session.facts.formats.codec == "G722"
        await soon(lambda: session.inbound.concealed > 10, 30)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"receive": True, "rx": "udp:192.0.2.1:1"}, "receive"),
        ({"receive": True, "target": "udp:192.0.2.1:1"}, "receive"),
        ({"processor": "echo", "rx": "udp:192.0.2.1:1", "tx": "udp:192.0.2.1:2"}, "processor"),
        ({"receive": True, "processor": "bot.py:echo"}, "processor"),
    ],
)
async def test_fields_that_do_not_go_together(fields: dict[str, Any], field: str) -> None:
    """Nothing is sent, and no port opened."""
    async with world(echo=False, **settings()) as w:
        with pytest.raises(InvalidFieldError) as caught:
            await w.actions.start_forking("v3:any", **fields)
        assert caught.value.field == field
        assert forks_of(w).n_ports == 0


async def test_without_ports_the_setting_is_named() -> None:
    """One clear error."""
    async with world(echo=False) as w:
        with pytest.raises(ConfigurationError, match="set fork_ports"):
            await w.actions.start_forking("v3:any", receive=True)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"fork_ports": "20000"}, "fork_ports: it must be written as 20000-20999"),
        ({"fork_ports": "20001-20000"}, "two ports at least"),
        ({"fork_ports": "20000-70000"}, "two ports at least"),
        ({"workers": 2}, "workers = 1"),
        ({"fork_payload_types": {"128": "PCMU"}}, "'128' is no payload type"),
        ({"fork_payload_types": {"96": "MP7"}}, "fork_payload_types: 96"),
        ({"fork_payload_types": {"96": "L16/x"}}, "fork_payload_types: 96"),
        ({"fork_from": ("anywhere",)}, "fork_from"),
    ],
)
async def test_wrong_settings_are_refused(wrong: dict[str, Any], match: str) -> None:
    """Before the server starts."""
    with pytest.raises(ConfigurationError, match=match):
        MediaServer(Settings(**{"fork_ports": "20000-20001", **wrong}))


async def test_an_address_that_is_everywhere_is_none_to_send_to() -> None:
    """``fork_host`` is asked for."""
    async with world(echo=False, **settings(host="0.0.0.0")) as w:
        with pytest.raises(ConfigurationError, match="set fork_host"):
            await w.actions.start_forking("v3:any", receive=True)
