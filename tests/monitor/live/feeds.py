"""A viewer of the live page without a browser."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

from mediaserver.app import MediaServer
from mediaserver.monitor.live.feed import AUDIO, JSON, LEVELS

ADMIN, LISTENER = "admin-canary-31", "listener-canary-31"
HEAD = struct.Struct("!IB")


class Part(NamedTuple):
    kind: int
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        assert self.kind == JSON
        told: dict[str, Any] = json.loads(self.body)
        return told


@asynccontextmanager
async def viewer(server: MediaServer, token: str = ADMIN) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the admin pages."""
    assert server.admin_url is not None
    fields = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=server.admin_url, headers=fields, trust_env=False, timeout=20
    ) as client:
        yield client


async def parts(answer: httpx.Response) -> AsyncIterator[Part]:
    """The parts of a feed."""
    read = b""
    async for more in answer.aiter_raw():
        read += more
        while len(read) >= HEAD.size:
            length, kind = HEAD.unpack_from(read)
            if len(read) < HEAD.size + length:
                break
            yield Part(kind, read[HEAD.size : HEAD.size + length])
            read = read[HEAD.size + length :]


async def until(
    client: httpx.AsyncClient, path: str, holds: Callable[[Part], bool], timeout_s: float = 20
) -> Part:
    """The first part of a feed for which that holds."""
    async with asyncio.timeout(timeout_s), client.stream("GET", path) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for part in parts(answer):
            if holds(part):
                return part
    raise AssertionError("the feed has ended")


def of_call(call_id: str, what: str) -> str:
    return f"/live/calls/{quote(call_id, safe='')}/{what}"


def table(part: Part) -> list[list[Any]]:
    """The rows of a table; of another part none."""
    if part.kind != JSON or part.told["type"] != "table":
        return []
    rows: list[list[Any]] = part.told["rows"]
    return rows


def levels(part: Part) -> dict[tuple[int, int], tuple[int, int]]:
    """By worker and number: the levels of caller and bot."""
    found = {}
    body = part.body if part.kind == LEVELS else b""
    while body:
        worker, n = struct.unpack_from("!iI", body)
        for at in range(n):
            number, caller, bot = struct.unpack_from("!IBB", body, 8 + 6 * at)
            found[worker, number] = caller, bot
        body = body[8 + 6 * n :]
    return found


class Heard(NamedTuple):
    now: float
    law: str
    chunks: list[tuple[int, float, int, bytes]]


def heard(part: Part) -> Heard:
    """A part of audio: side, time, rate and octets of each chunk."""
    assert part.kind == AUDIO
    now, is_alaw = struct.unpack_from("!dB", part.body)
    at, chunks = 9, []
    while at < len(part.body):
        side, when, rate_hz, n = struct.unpack_from("!BdII", part.body, at)
        at += 17
        chunks.append((side, when, rate_hz, part.body[at : at + n]))
        at += n
    return Heard(now, "PCMA" if is_alaw else "PCMU", chunks)
