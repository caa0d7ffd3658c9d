"""Calls to a server with workers, and a look at who has them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.carrier.messages import MediaIn
from mediaserver.server.workers.process import WorkerLimits, WorkerProcess
from mediaserver.server.workers.service import MultiProcessService

# A tenth of the usual patience: beats come often enough even on a busy machine.
IMPATIENT = WorkerLimits(beat_s=0.1, quiet_s=1.0, hung_s=2.0, pause_s=0.05, longest_pause_s=0.4)

PATIENT = WorkerLimits(quiet_s=60.0, hung_s=90.0, pause_s=0.05)


def crew(server: MediaServer) -> MultiProcessService:
    assert isinstance(server.service, MultiProcessService)
    return server.service


def worker_of(server: MediaServer, call: FakeCall) -> WorkerProcess:
    """The worker that has a call."""
    (worker,) = [w for w in crew(server).workers if call.plan.call_control_id in w.calls]
    return worker


async def soon(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until ``condition()`` holds: what another process does has no event to wait for."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.01)


class EchoCall(FakeCall):
    """A call by hand that knows what audio it heard."""

    def heard(self) -> list[bytes]:
        """The payloads that came, without the marks between them."""
        media = [r.command for r in self.received if isinstance(r.command, MediaIn)]
        return [base64.b64decode(each.media.payload) for each in media]


async def echoes(call: EchoCall, code: int) -> bool:
    """Whether the next payload of a call comes back bit for bit."""
    before = len(call.heard())
    await call.send_payload(bytes([code]) * 160)
    await call.wait_until(lambda: len(call.heard()) > before, 10)
    return call.heard()[before:] == [bytes([code]) * 160]


def call_to(server: MediaServer, **plan: Any) -> EchoCall:
    return EchoCall(server.url, CallPlan(seconds=60.0, **plan))


async def status(server: MediaServer, path: str) -> int:
    """The status of an HTTP GET."""
    import httpx

    async with httpx.AsyncClient() as client:
        url = server.url.replace("ws://", "http://").replace("/media", path)
        return (await client.get(url)).status_code
