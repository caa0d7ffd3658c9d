"""Whatever becomes of its isolated calls, a server is behind them as it was before.

``make churn`` runs it with 1,000 calls; ``CHURN`` in the environment is their number.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mediaserver.carrier import CallPlan, FakeCall
from tests.cli.test_process import READY
from tests.server import churnbots
from tests.server.churning import SECRET, churn
from tests.server.conftest import BOTS
from tests.server.isolation.test_pool import descendants
from tests.server.watching import soon

N_CALLS = int(os.environ.get("CHURN", "60"))
N_WAVES = 4
# A key in eighty ends the process of its call, and of up to seven others.
KEYS = "1234567" * 11 + "9"
ALLOWED_KIB = 2 * 1024
CHURNBOTS = churnbots.__file__
CONFIG = f"""
reconnect_grace_s = 0.5
handler_grace_s = 0.3
on_error = "end"
log_level = "error"
processors = [{{name = "{CHURNBOTS}:restless", isolate = "process"}}]

[[offer]]
name = "{CHURNBOTS}:census"
alias = "census"
parameters = {{folder = "FOLDER"}}

[[offer]]
name = "echo"
isolate = "process"

[[offer]]
name = "{BOTS}:Faulty"
alias = "Faulty"
isolate = "process"

[[offer]]
name = "{BOTS}:Unmade"
alias = "Unmade"
isolate = "process"
"""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[int, str]]:
    """A server process, its pid and its URL: what it holds is not mixed with the callers'."""
    config, log = folder / "server.toml", folder / "server.log"
    config.write_text(CONFIG.replace("FOLDER", str(folder)))
    command = [sys.executable, "-m", "mediaserver", "serve", "--port", "0", "--config", str(config)]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stderr=file, env={**os.environ, "MEDIASERVER_AUTH_TOKEN": SECRET}
        )
        try:
            for _ in range(600):
                if process.poll() is None and READY.search(log.read_text()):
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
            ready = READY.search(log.read_text())
            assert ready, log.read_text()
            yield process.pid, ready[1]
        finally:
            process.terminate()
            process.wait(30)


async def look(url: str, folder: Path) -> dict[str, Any]:
    """A census of the server."""
    plan = CallPlan(token=SECRET, custom_parameters={"processor": "census"})
    file = folder / f"{plan.call_control_id}.json"
    async with FakeCall.connect(url, plan) as call:
        await call.press("1")
        await soon(file.exists, 30)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def held(pid: int, census: dict[str, Any]) -> dict[str, Any]:
    """What must be the same behind a wave."""
    kept = {name: census[name] for name in ("pid", "tasks", "descriptors", "threads", "objects")}
    return {**kept, "processes": len(descendants(pid))}


async def settled(pid: int, url: str, folder: Path, before: dict[str, Any]) -> dict[str, Any]:
    """A census once the server holds what it held before, or does not get there in time."""
    for _ in range(100):
        census = await look(url, folder)
        if held(pid, census) == before:
            break
        await asyncio.sleep(0.2)
    assert held(pid, census) == before
    return census


def resident_kib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


@pytest.mark.long
@pytest.mark.timeout(120 + N_CALLS)
async def test_a_server_is_behind_isolated_calls_as_before(tmp_path: Path) -> None:
    """Tasks, descriptors, threads, processes and objects; memory from the third wave on."""
    with served(tmp_path) as (pid, url):
        await look(url, tmp_path)
        before = held(pid, await look(url, tmp_path))
        (spawner,) = [each for each in descendants(pid) if descendants(each)]
        kib: list[tuple[int, int]] = []
        for wave in range(N_WAVES):
            done = await churn(url, N_CALLS // N_WAVES, f"wave {wave}", keys=KEYS)
            census = await settled(pid, url, tmp_path, before)
            kib.append((census["rss_kib"], resident_kib(spawner)))
            told = {"wave": wave, "done": done, "server_kib": kib[-1][0], "spawner_kib": kib[-1][1]}
            print(json.dumps(told, sort_keys=True))
            assert not [r for r in done if r.startswith("refused:") and "401" not in r]
        log = (tmp_path / "server.log").read_text()
        print(json.dumps({"lost hosts": len(re.findall("its chain starts again", log)), **before}))
        for third, last in zip(kib[-2], kib[-1], strict=True):
            assert last - third <= ALLOWED_KIB
        for fault in ("never retrieved", "Exception in callback", "destroyed", "link failed"):
            assert fault not in log
