"""A node's agent: an actor of Ray on that node, between the media server and the directory.

It has no state that matters: the media server has the calls, and the directory is rebuilt from
reports. So it may die at any time, and a new one takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

import msgspec

from mediaserver.cluster.actors.engine import DIRECTORY, Actor, UnavailableError, agent_name
from mediaserver.cluster.directory import MOVING
from mediaserver.cluster.link import Link, LinkError
from mediaserver.cluster.messages import Forward, Reply
from mediaserver.cluster.node.forwarding import HERE, ON_ITS_WAY, THERE

BEAT_S = 0.2
AGAIN_S = 0.2
DELIVERED_WITHIN_S = 2.0

_AGAIN = msgspec.msgpack.encode(Reply(again=True))
_decode_forward = msgspec.msgpack.Decoder(Forward).decode


class NodeAgent:
    """Reports and carries out, in a loop of its own.

    Args:
        node: its name.
        path: where the media server is reached, a Unix socket.
    """

    def __init__(self, node: str, path: str) -> None:
        self._node = node
        self._path = path
        self._directory = Actor(DIRECTORY)
        self._agents: dict[str, Actor] = {}
        self._link: Link | None = None
        self._changed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, name="agent", daemon=True).start()

    # What is asked over Ray.

    def pid(self) -> int:
        """Of the process it runs in."""
        return os.getpid()

    def is_adopted(self) -> bool:
        """Whether the media server is reached."""
        return self._link is not None

    def deliver(self, body: bytes) -> bool:
        """Give a webhook to the media server; raises where it cannot be given."""
        link = self._link
        if link is None:
            raise LinkError("no media server")
        asked = asyncio.run_coroutine_threadsafe(link.ask("webhook", body), self._loop)
        asked.result(DELIVERED_WITHIN_S)
        return True

    def restart(self) -> str:
        """Have the media server end, to be started anew; gives what its instance was."""
        link = self._link
        if link is None:
            raise LinkError("no media server")
        asked = asyncio.run_coroutine_threadsafe(link.ask("end"), self._loop)
        return asked.result(DELIVERED_WITHIN_S).decode()

    # The loop.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(self._path)
                link = self._link = Link(reader, writer, self._answer)
                beating = asyncio.create_task(self._beat(link))
                try:
                    await link.run()
                finally:
                    self._link = None
                    beating.cancel()
            await asyncio.sleep(AGAIN_S)

    async def _beat(self, link: Link) -> None:
        """Bring the directory's reply, and take what the media server reports."""
        reply = _AGAIN
        while True:
            try:
                report = await link.ask("beat", reply)
            except LinkError:
                reply = _AGAIN
                await asyncio.sleep(AGAIN_S)
                continue
            try:
                reply = await self._directory.ask("report", report)
            except UnavailableError:
                reply = _AGAIN  # what was reported is lost: all is reported again
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), BEAT_S)
            self._changed.clear()

    async def _answer(self, word: str, body: bytes) -> bytes:
        """What the media server asks."""
        if word == "changed":
            self._changed.set()
            return b""
        try:
            if word == "place":
                placed: bytes = await self._directory.ask("place", body, within_s=0.4)
                if not placed:
                    raise LinkError("no node can take a call")
                return placed
            return await self._forward(body)
        except UnavailableError as exc:
            raise LinkError(str(exc)) from exc

    async def _forward(self, body: bytes) -> bytes:
        owner = await self._directory.ask("owner", _decode_forward(body).call)
        if owner == MOVING:
            return ON_ITS_WAY
        if owner in ("", self._node):
            return HERE
        agent = self._agents.setdefault(owner, Actor(agent_name(owner)))
        await agent.ask("deliver", body, within_s=DELIVERED_WITHIN_S)
        return THERE
