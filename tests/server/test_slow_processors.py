"""A processor that takes its time to load delays nobody's upgrade.

What is loaded, and what each call makes, writes down when it begins and when it is over: an
upgrade that is answered between the two did not wait for it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving

SLOW = """
import time
from pathlib import Path
from mediaserver.processors.api import Filter, processor

def note(name):
    with Path(__file__).with_name(name).open("a") as noted:
        noted.write("x")

note("load-begins")
time.sleep({load_s})
note("load-over")

class Slow(Filter):
    def __init__(self, call):
        super().__init__(call)
        note("begins")
        time.sleep({make_s})
        note("over")

    def process(self, frame):
        return frame
"""


def slow(folder: Path, *, load_s: float = 0.0, make_s: float = 0.0) -> ProcessorSetting:
    file = folder / "slow.py"
    file.write_text(SLOW.format(load_s=load_s, make_s=make_s))
    return ProcessorSetting(f"{file}:Slow")


def noted(folder: Path, name: str) -> int:
    """How often it was written down."""
    file = folder / name
    return len(file.read_text()) if file.exists() else 0


@pytest.mark.parametrize("settings", [{}, {"workers": 2}], ids=["one", "workers"])
async def test_a_slow_import_is_over_before_the_port_is_there(
    serving: Serving, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Whoever can connect finds it loaded: no call's upgrade or start loads it again."""
    async with serving(slow(tmp_path, load_s=0.5), **settings) as server:
        n = noted(tmp_path, "load-begins")
        assert n == noted(tmp_path, "load-over") >= 1
        async with FakeCall.connect(server.url, CallPlan()) as call:
            await call.send_payload(b"\xff" * 160)
            async with asyncio.timeout(60):
                while not noted(tmp_path, "over"):  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.02)
        assert noted(tmp_path, "load-begins") == n


@pytest.mark.parametrize(
    "settings", [{"workers": 2}, {"isolate": True}], ids=["workers", "isolated"]
)
async def test_a_slow_constructor_delays_no_upgrade(
    serving: Serving, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """While one call's processor is made, for two seconds, others get their 101."""
    async with serving(slow(tmp_path, make_s=2.0), **settings) as server:
        async with FakeCall.connect(server.url, CallPlan()) as first:
            await first.send_payload(b"\xff" * 160)
            async with asyncio.timeout(60):
                while not noted(tmp_path, "begins"):  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.02)
            async with FakeCall.connect(server.url, CallPlan(), greet=False):
                assert not noted(tmp_path, "over")


async def test_a_call_has_its_upgrade_before_its_processors(
    serving: Serving, tmp_path: Path
) -> None:
    """Inline they are made on the loop, but behind ``start``: never before this call's 101."""
    async with serving(slow(tmp_path, make_s=0.5)) as server:
        async with FakeCall.connect(server.url, CallPlan(), greet=False) as call:
            assert not noted(tmp_path, "begins")
            await call.greet()
            async with asyncio.timeout(60):
                while not noted(tmp_path, "over"):  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.02)
