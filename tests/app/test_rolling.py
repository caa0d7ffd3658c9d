"""A server makes way for the next one: no call is cut, none refused, and no frame lost.

``make rolling`` runs all of them, with 50 calls; ``ROLLING`` is how many.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

from mediaserver.carrier import CallPlan, place_call
from mediaserver.tokens import issue
from tests.app.rolling import HeldCall, NewCalls, Server, serving, write_bot
from tests.ports import free_port
from tests.server.sockets import certificates

N_CALLS = int(os.environ.get("ROLLING", "6"))
N_RECONNECTING = max(1, N_CALLS // 5)
NEW_PER_S = 5.0
long = pytest.mark.skipif("ROLLING" not in os.environ, reason="make rolling runs it")


async def reload(server: Server, *which: str) -> tuple[int, str]:
    """``mediaserver reload``: its exit code, and what it says."""
    which = which or ("--pid", str(server.process.pid))
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mediaserver", "reload", *which,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(ran.communicate(), 120)
    assert ran.returncode is not None
    return ran.returncode, said.decode()


async def roll_over(held: list[HeldCall], new: NewCalls) -> None:
    """With the new server there: some calls reconnect, and then all goes to its end."""
    await asyncio.gather(*(call.reconnect() for call in held[:N_RECONNECTING]))
    await asyncio.gather(*(call.heard_again() for call in held))
    await new.stop()
    await asyncio.gather(*(call.end() for call in held))
    for call in held:
        # One bot, of the old code, before and behind the reconnect.
        assert call.answered_by == ["old"]
    for call in held[N_RECONNECTING:] + new.calls:
        assert call.n_back == call.n_sent
    assert {name for call in new.calls for name in call.answered_by} == {"old", "new"}
    assert all(len(call.answered_by) == 1 for call in new.calls)


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=long)])
async def test_a_reload_cuts_and_refuses_no_call(tmp_path: Path, workers: str) -> None:
    """Old calls go on with their bots, also those that reconnect; new ones get the new code."""
    bot = tmp_path / "bot.py"
    write_bot(bot, "old")
    chain = ["--processor", "echo", "--processor", f"{bot}:bot"]
    async with serving(*chain, "--port", "0", "--workers", workers) as server:
        held = [HeldCall(server.url, bot) for _ in range(N_CALLS)]
        await asyncio.gather(*(call.up() for call in held))
        new = NewCalls(server.url, bot, NEW_PER_S)
        await asyncio.sleep(0.5)
        write_bot(bot, "new")
        code, said = await reload(server)
        assert code == 0, said
        await asyncio.sleep(0.5)
        await roll_over(held, new)
        assert await server.ended() == 0


async def test_the_admin_port_goes_to_the_new_server(tmp_path: Path) -> None:
    """While an old call goes on: the pages are the newest server's."""
    bot = tmp_path / "bot.py"
    write_bot(bot, "old")
    port = free_port()
    pages = f"http://127.0.0.1:{port}/metrics"
    chain = ["--processor", "echo", "--processor", f"{bot}:bot"]
    async with (
        serving(*chain, "--port", "0", "--admin-port", str(port)) as server,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        held = HeldCall(server.url, bot)
        await held.up()
        assert "mediaserver_reloads_total 0.0" in (await client.get(pages)).text
        code, said = await reload(server)
        assert code == 0, said
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if "mediaserver_reloads_total 1.0" in (await client.get(pages)).text:
                        break
                await asyncio.sleep(0.1)
        await held.end()
        assert await server.ended() == 0


@long
async def test_a_reload_with_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of a connection stay where they are: what is inside goes to the older process."""
    cert, key = certificates.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    bot = tmp_path / "bot.py"
    write_bot(bot, "old")
    chain = ["--processor", "echo", "--processor", f"{bot}:bot"]
    async with serving(
        *chain, "--port", "0", "--tls-cert", str(cert), "--tls-key", str(key)
    ) as server:
        held = [HeldCall(server.url, bot) for _ in range(3)]
        await asyncio.gather(*(call.up() for call in held))
        new = NewCalls(server.url, bot, NEW_PER_S)
        await asyncio.sleep(0.5)
        write_bot(bot, "new")
        code, said = await reload(server)
        assert code == 0, said
        await asyncio.sleep(0.5)
        await roll_over(held, new)
        assert await server.ended() == 0


@long
async def test_a_reload_that_fails_changes_nothing(tmp_path: Path) -> None:
    """The reason is told by the command; the old process serves on, and can be reloaded later."""
    bot = tmp_path / "bot.py"
    write_bot(bot, "old")
    chain = ["--processor", "echo", "--processor", f"{bot}:bot"]
    pid_file = tmp_path / "pid"
    async with serving(*chain, "--port", "0", "--pid-file", str(pid_file)) as server:
        call = HeldCall(server.url, bot)
        await call.up()
        bot.write_text("this is no Python")
        code, said = await reload(server)
        assert code == 1
        assert "bot.py" in said
        bot.write_text("import os; os._exit(7)")
        code, said = await reload(server)
        assert code == 1
        assert "exit code 7" in said
        assert pid_file.read_text() == f"{server.process.pid}\n"
        await call.heard_again()
        write_bot(bot, "new")
        code, said = await reload(server, "--pid-file", str(pid_file))
        assert code == 0, said
        assert pid_file.read_text() != f"{server.process.pid}\n"
        code, said = await reload(server)
        assert code == 1
        assert "was replaced already" in said
        await call.end()
        assert await server.ended() == 0
        assert pid_file.exists()


@long
async def test_generations_in_a_row(tmp_path: Path) -> None:
    """A call of the first one reconnects through the third, and each ends when its calls do."""
    bot = tmp_path / "bot.py"
    write_bot(bot, "old")
    chain = ["--processor", "echo", "--processor", f"{bot}:bot"]
    pid_file = tmp_path / "pid"
    token = issue("shared", time.time())
    async with serving(
        *chain, "--port", "0", "--pid-file", str(pid_file), MEDIASERVER_AUTH_TOKEN="shared"
    ) as server:
        calls = [HeldCall(server.url, bot, token)]
        await calls[0].up()
        for name in ("second", "third"):
            write_bot(bot, name)
            code, said = await reload(server, "--pid-file", str(pid_file))
            assert code == 0, said
            calls.append(HeldCall(server.url, bot, issue("shared", time.time())))
            await calls[-1].up()
        # Its own token lets it take its live socket over; nobody else's call may have it.
        for call in calls:
            await call.reconnect()
            await call.heard_again()
        stranger = await place_call(server.url, CallPlan(seconds=0.1, token=token))
        assert stranger.close_code == 1008
        for call in calls:
            await call.end()
        assert [call.answered_by for call in calls] == [["old"], ["second"], ["third"]]
        assert await server.ended() == 0
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        await server.says("draining")


@pytest.mark.parametrize("workers", [pytest.param("1", marks=long), "2"])
async def test_a_drain_with_a_successor_cuts_and_refuses_no_call(
    tmp_path: Path, workers: str
) -> None:
    """The socket is held by another, as by systemd; a server that starts knows of the drain."""
    bot = tmp_path / "bot.py"
    write_bot(bot, "old")
    chain = ["--processor", "echo", "--processor", f"{bot}:bot", "--workers", workers]
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        async with serving(*chain, listening=listening) as server:
            held = [HeldCall(server.url, bot) for _ in range(N_CALLS)]
            await asyncio.gather(*(call.up() for call in held))
            new = NewCalls(server.url, bot, NEW_PER_S)
            await asyncio.sleep(0.5)
            write_bot(bot, "new")
            server.process.send_signal(signal.SIGTERM)
            await server.says("draining")
            async with serving(*chain, listening=listening) as successor:
                await asyncio.sleep(0.5)
                await roll_over(held, new)
                assert await server.ended() == 0
                assert successor.process.returncode is None
