"""A bot from a file may work in processes of its own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.server.rawclient import RawCall, serving

BOT = """
import asyncio
import logging
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import helper_of_pool
from mediaserver import Call, processor

log = logging.getLogger(__name__)


def square(number):
    return number * number + helper_of_pool.ONE


@processor
async def works(call: Call, out: Path) -> None:
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = await loop.run_in_executor(pool, square, 7)
    log.warning("found %d", found)
    out.write_text(str(found))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_spawned_pool_finds_the_bots_functions(workers: int, tmp_path: Path) -> None:
    """In the server and in a worker; the bot's log lines have the file's name."""
    bot, out = tmp_path / "pool_bot.py", tmp_path / "out"
    bot.write_text(BOT)
    (tmp_path / "helper_of_pool.py").write_text("ONE = 1")
    log = tmp_path / "log"
    arguments = ("--processor", f"{bot}:works?out={out}", "--workers", str(workers))
    with serving(log, *arguments) as server, RawCall(server.port) as call:
        call.begin()
        deadline = time.monotonic() + 60
        while not out.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert out.exists(), log.read_text()
    assert out.read_text() == "50"
    assert " pool_bot: found 50" in log.read_text()
