"""A processor host: the calls whose chains run in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from mediaserver.errors import ConfigurationError
from mediaserver.media.frames import Frame
from mediaserver.processors.parameters import from_call
from mediaserver.processors.spec import Spec
from mediaserver.server.calls.hangups import ControlEncoding
from mediaserver.server.calls.runner import InlineRunner
from mediaserver.server.calls.selection import Chosen, load
from mediaserver.server.calls.views.batches import Batches
from mediaserver.server.calls.views.others import Neighbours
from mediaserver.server.calls.watching.blame import Culprit, LoopWatch
from mediaserver.server.isolation import messages
from mediaserver.server.isolation.link import Link
from mediaserver.server.isolation.remote_call import RemoteCall
from mediaserver.settings import Settings

BEAT_S = 0.25
_DECODER = msgspec.msgpack.Decoder(messages.ToHost)


def load_isolated(settings: Settings) -> dict[object, Spec]:
    """All processors of the settings, and their parameters checked.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    return {setting.name: load(path, setting) for path, setting in settings.named()}


class ProcessorHost:
    """Runs the chains of some calls, until the server's process is gone.

    Args:
        end: this side of the link.
        settings: list the processors; messages name one by its number there.
        specs: the processors that were found, by name.
        control: encodes requests to the control client, and decodes its answers.
        batches: the batch processors, which get the audio of all calls of this host.
    """

    def __init__(
        self,
        end: socket.socket,
        settings: Settings,
        specs: Mapping[object, Spec],
        control: ControlEncoding,
        batches: Batches | None = None,
    ) -> None:
        self._batches = batches
        self._neighbours = Neighbours()
        self._settings = settings
        self._named = [each for _, each in settings.named()]
        self._specs = specs
        self._control = control
        self._calls: dict[int, RemoteCall] = {}
        self._n_frames = 0
        self._over = asyncio.Event()
        self._empty = asyncio.Event()
        self._link = Link(end, self._received, self._over.set)

    async def run(self) -> None:
        """Carry on until the other side is gone, and then until the handlers have ended."""
        beat = asyncio.get_running_loop().create_task(self._beat())
        watch = LoopWatch(self._blamed)
        watch.start()
        await self._over.wait()
        watch.stop()
        beat.cancel()
        for call in list(self._calls.values()):
            call.close()
        if self._calls:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), self._settings.handler_grace_s)

    def _blamed(self, name: str, *, culprit: Culprit, late_s: float) -> None:
        """Something held up this loop: all calls here, where it was one call's processor."""
        if culprit.call_id:
            for call in self._calls.values():
                call.held_up(culprit.call_id, str(culprit), late_s)
        for call in self._calls.values():
            if culprit.call_id in ("", call.facts.call_id):
                call.count(name)
                return

    async def _beat(self) -> None:
        while True:
            self._say(0, messages.HostBeat(self._n_frames))
            await asyncio.sleep(BEAT_S)

    def _received(self, kind: int, number: int, content: memoryview) -> None:
        call = self._calls.get(number)
        if kind == messages.FRAME:
            self._n_frames += 1
            if call is not None:
                call.run(frame_of(content))
            if self._n_frames == 1:
                # From now on it is expected to show regularly that it lives.
                self._say(0, messages.HostBeat(1))
            return
        message = _DECODER.decode(content)
        if isinstance(message, messages.OpenCall):
            self._open(number, message)
        elif call is None:
            return
        elif isinstance(message, messages.Publish):
            call.told(messages.event_of(message, self._control.decode_event))
        else:
            call.received(message)

    def _open(self, number: int, opened: messages.OpenCall) -> None:
        try:
            chosen = [self._chosen(index, opened.outside) for index in opened.chain]
        except ConfigurationError as exc:
            self._say(number, messages.CallRefused(str(exc)))
            return
        call = self._calls[number] = RemoteCall(
            self._link,
            number,
            opened,
            InlineRunner(chosen, self._settings, self._batches, self._neighbours),
            self._control,
            self._forget,
        )
        call.begin()

    def _chosen(self, index: int, outside: Mapping[str, str]) -> Chosen:
        setting = self._named[index]
        spec = self._specs[setting.name]
        return Chosen(spec, from_call(spec, setting.parameters, outside, setting.allow))

    def _forget(self, number: int) -> None:
        self._calls.pop(number, None)
        if not self._calls:
            self._empty.set()

    def _say(self, number: int, message: Any) -> None:
        self._link.send(messages.MESSAGE, number, msgspec.msgpack.encode(message))


def frame_of(content: memoryview) -> Frame:
    """The frame of a packet; its samples lie in the packet."""
    index, start, lag, rate, track, lost = messages.FRAME_HEAD.unpack_from(content)
    samples = np.frombuffer(content, np.int16, offset=messages.FRAME_HEAD.size)
    return Frame(samples, rate, messages.TRACKS[track], index, start, bool(lost), lag)
