from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mediaserver.cluster.link import Link, LinkError, listen


async def echo(word: str, body: bytes) -> bytes:
    if word == "fail":
        raise ValueError("not today")
    if word == "slow":
        await asyncio.sleep(30.0)
    return word.encode() + b" " + body


@asynccontextmanager
async def two(path: Path) -> AsyncIterator[tuple[Link, Link]]:
    """Both ends of a connection, running."""
    there: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer, echo)
        there.set_result(link)
        await link.run()

    server = await listen(str(path), connected)
    reader, writer = await asyncio.open_unix_connection(str(path))
    here = Link(reader, writer, echo)
    running = asyncio.create_task(here.run())
    try:
        yield here, await there
    finally:
        here.close()
        server.close()
        await running


async def test_both_sides_may_ask_at_once(tmp_path: Path) -> None:
    async with two(tmp_path / "s") as (here, there):
        asked = [side.ask("word", b"%d" % n) for n in range(20) for side in (here, there)]
        answers = await asyncio.gather(*asked)
        assert answers == [b"word %d" % n for n in range(20) for _ in range(2)]


async def test_a_question_that_fails_or_is_slow_fails_alone(tmp_path: Path) -> None:
    async with two(tmp_path / "s") as (here, _):
        with pytest.raises(LinkError, match="not today"):
            await here.ask("fail")
        with pytest.raises(LinkError, match="no answer within"):
            await here.ask("slow", within_s=0.05)
        assert await here.ask("word") == b"word "


async def test_whoever_waits_is_told_that_the_other_side_is_gone(tmp_path: Path) -> None:
    async with two(tmp_path / "s") as (here, there):
        waiting = asyncio.create_task(here.ask("slow", within_s=20.0))
        await asyncio.sleep(0.05)
        there.close()
        with pytest.raises(LinkError, match="gone"):
            await waiting
        with pytest.raises(LinkError, match="gone"):
            await here.ask("word")


@pytest.mark.parametrize("octets", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc"])
async def test_what_is_no_message_ends_the_connection(tmp_path: Path, octets: bytes) -> None:
    """A length beyond the limit, or octets that are none of ours."""
    async with two(tmp_path / "s") as (here, there):
        there._writer.write(octets)
        with pytest.raises(LinkError, match="gone"):
            await here.ask("slow", within_s=5.0)


async def test_the_socket_is_for_this_user_and_replaces_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()
    async with two(path):
        assert path.stat().st_mode & 0o077 == 0
