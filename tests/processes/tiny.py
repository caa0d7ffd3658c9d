"""A child that is no worker: it adds numbers, and fails in any way it is told."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import Any

import msgspec

from mediaserver.processes import inside
from mediaserver.processes.channel import Channel
from mediaserver.processes.child import ChildKind
from mediaserver.processes.messages import Failed, Ready, Shutdown


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The first message; ``how`` says what is wrong with the start, if anything is."""

    how: str = ""
    beat_s: float = 0.02
    orphan_s: float = 30.0


class Add(msgspec.Struct, frozen=True, tag=True):
    number: int


class Do(msgspec.Struct, frozen=True, tag=True):
    what: str


class Sum(msgspec.Struct, frozen=True, tag=True):
    total: int


class Said(msgspec.Struct, frozen=True, tag=True):
    text: str


VERSION = 7
KIND = ChildKind(
    name="tiny",
    code="from tests.processes.tiny import main; main(fd)",
    version=VERSION,
    answers=Sum | Said,
)
NEWER = msgspec.structs.replace(
    KIND, code="from tests.processes.tiny import main; main(fd, version=8)"
)


class Tiny:
    """The work in the child's process."""

    def __init__(self, begin: Begin, end: socket.socket) -> None:
        self._total = 0
        self._over = asyncio.Event()
        self._raw = end
        self._channel = Channel(end, Add | Do | Shutdown, self._received, self._over.set)
        self._heartbeats = inside.Heartbeats(self._channel, begin.beat_s, lambda: {"beats": 1})
        self._is_ready = begin.how != "is never ready"

    async def run(self) -> None:
        if self._is_ready:
            self._channel.send(Ready())
        self._heartbeats.start()
        await self._over.wait()
        self._heartbeats.stop()
        self._channel.close()

    def _received(self, message: Any, _: int | None) -> None:
        match message:
            case Add(number):
                self._total += number
                self._channel.send(Sum(self._total))
            case Do("environment"):
                self._channel.send(Said(" ".join(sorted(os.environ))))
            case Do(what):
                self._do(what)
            case Shutdown():
                self._over.set()

    def _do(self, what: str) -> None:
        match what:
            case "hang":
                self._channel.send(Said("I hang"))
                time.sleep(60)
            case "exit":
                os._exit(3)
            case "fall silent":
                self._heartbeats.stop()
            case "send garbage":
                self._raw.send(b"\0\0\0\3\0\xc1\xc1\xc1")
            case "send another type":
                self._channel.send(Add(1))
            case "send a descriptor":
                self._channel.send(Said("with one"), os.dup(0))
            case "fail":
                self._channel.send(Failed("as told"))
                self._over.set()
            case "leave the channel open":
                if os.fork() == 0:
                    time.sleep(5)
                os._exit(0)


def main(fd: int, version: int = VERSION) -> None:
    end = inside.begin(fd, version)
    try:
        begin = inside.first_message(end, Begin)
    except EOFError:
        return
    if begin.how == "dies":
        sys.exit(4)
    if begin.how == "fails":
        inside.fail(end, "it cannot: \udcff")
        return
    inside.end_with_parent(end, begin.orphan_s, "tiny")
    asyncio.run(_work(begin, end))


async def _work(begin: Begin, end: socket.socket) -> None:
    await Tiny(begin, end).run()
