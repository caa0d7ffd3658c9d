"""Grafana's dashboard asks only what Prometheus can answer from a real ``/metrics``."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mediaserver.carrier import CallPlan, place_call
from mediaserver.monitor.metrics import described
from tests.ports import free_port
from tests.server.conftest import Serving
from tests.server.workers.crews import PATIENT

DASHBOARD = Path(__file__).parents[2] / "deploy/grafana.json"
PROMETHEUS = shutil.which("prometheus")
CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: mediaserver
    authorization: {{credentials: a-token}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def panels() -> Iterator[tuple[str, list[str]]]:
    """Title and queries of each panel."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        yield panel["title"], [target["expr"] for target in panel["targets"]]


def test_every_query_names_metrics_that_there_are() -> None:
    """Also where there is no Prometheus to ask."""
    known = {family.name + "_total" * (family.type == "counter") for family, _ in described()}
    for title, queries in panels():
        for query in queries:
            for name in re.findall(r"mediaserver_\w+", query):
                assert name in known or name.removesuffix("_bucket") in known, (title, name)


def test_panels_lie_beside_each_other() -> None:
    """None has another's id or place."""
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found}
    assert len(places) == len(found)


@asynccontextmanager
async def prometheus(directory: Path, target: int) -> AsyncIterator[httpx.AsyncClient]:
    """Debian's Prometheus, that scrapes a port once a second; a client of it."""
    assert PROMETHEUS is not None
    (directory / "prometheus.yml").write_text(CONFIG.format(port=target))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        PROMETHEUS,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


async def ask(client: httpx.AsyncClient, query: str) -> list[Any]:
    """What Prometheus answers; nothing while it starts."""
    try:
        answer = await client.get("/api/v1/query", params={"query": query})
    except httpx.TransportError:
        return []
    if answer.status_code == 503:  # it starts
        return []
    said = answer.json()
    assert said["status"] == "success", (query, said)
    return list(said["data"]["result"])


@pytest.mark.long
@pytest.mark.skipif(PROMETHEUS is None, reason="Debian's prometheus is not here")
async def test_every_query_is_answered(serving: Serving, tmp_path: Path) -> None:
    """By Prometheus, of a server with two workers that carries a call."""
    async with serving("echo", workers=2, admin_port=0, admin_token="a-token", limits=PATIENT) as s:
        assert s.admin_url is not None
        async with prometheus(tmp_path, httpx.URL(s.admin_url).port or 0) as client:
            call = asyncio.create_task(place_call(s.url, CallPlan(seconds=6.0)))
            # Two scrapes at least that a rate can be made of.
            scraped = 'count_over_time(mediaserver_frames_total{fate="delivered"}[1m]) >= 3'
            async with asyncio.timeout(60):
                while not await ask(client, scraped):  # noqa: ASYNC110  # another process's
                    await asyncio.sleep(0.2)
            empty = set()
            for title, queries in panels():
                for query in queries:
                    if not await ask(client, query.replace("$__rate_interval", "1m")):
                        empty.add(title)
            assert not empty
            await call
