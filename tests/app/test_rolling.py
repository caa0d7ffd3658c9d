"""A server makes way for the next one: no call is cut, none refused, and no frame lost.

``make rolling`` runs them with 50 calls; ``ROLLING`` is how many.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.app.rolling import HeldCall, NewCalls, Server, serving, write_bot

N_CALLS = int(os.environ.get("ROLLING", "6"))
N_RECONNECTING = max(1, N_CALLS // 5)
NEW_PER_S = 5.0


async def reload(server: Server) -> tuple[int, str]:
    """``mediaserver reload``: its exit code, and what it says."""
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mediaserver", "reload", "--pid", str(server.process.pid),
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


@pytest.mark.parametrize("workers", ["1", "2"])
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


@pytest.mark.parametrize("workers", ["1", "2"])
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
