"""What a server's ``/metrics`` says, read as Prometheus reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from mediaserver.app import MediaServer

Samples = dict[tuple[str, ...], float]
"""Values by name, without ``mediaserver_``, and the labels' values."""


async def scrape(server: MediaServer) -> str:
    """The text."""
    field = {"Authorization": f"Bearer {server.settings.admin_token}"}
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.get(f"{server.admin_url}/metrics", headers=field)
        answer.raise_for_status()
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return answer.text


def read(text: str) -> Samples:
    """Its values."""
    return {
        (sample.name.removeprefix("mediaserver_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def samples(server: MediaServer) -> Samples:
    """Its values now."""
    return read(await scrape(server))


async def until(
    server: MediaServer, condition: Callable[[Samples], bool], timeout_s: float = 30.0
) -> Samples:
    """Its values once they are so."""
    async with asyncio.timeout(timeout_s):
        while not condition(found := await samples(server)):  # noqa: ASYNC110  # as in `soon`
            await asyncio.sleep(0.05)
    return found
