"""Sends a call's tracks as RTP over UDP, by a plan, with loss, reordering and jitter."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mediaserver.carrier.fork.packets import PAYLOAD_TYPES, clock_hz, rtp, strep
from mediaserver.carrier.plan import CallPlan, PlanError
from mediaserver.carrier.script import Cue, Lap, cues, media_s, voices

DYNAMIC_TYPE = 96
_PRIME = 7919


@dataclass(frozen=True)
class ForkedTrack:
    """One track and where it goes.

    Attributes:
        track: ``inbound`` is what Telnyx receives.
        address: ``udp:ip:port``; an IPv6 address in brackets.
        call_leg_id: a STREP header with it stands before each packet; empty: none does.
    """

    track: Literal["inbound", "outbound"]
    address: str
    call_leg_id: str = ""


def address_of(written: str) -> tuple[str, int]:
    """Return host and port of ``udp:ip:port``.

    Raises:
        PlanError: it is none.
    """
    host, _, port = written.removeprefix("udp:").rpartition(":")
    if not written.startswith("udp:") or not host or not port.isdecimal():
        raise PlanError(f"{written!r} is not udp:ip:port")
    return host.strip("[]"), int(port)


class _Track:
    """One track's socket and numbers."""

    def __init__(self, plan: CallPlan, to: ForkedTrack, number: int) -> None:
        dice = random.Random(plan.seed * 2 + number)
        # Each direction has its own way through the network: its faults are its own.
        self.plan = replace(plan, tracks=to.track, seed=plan.seed * _PRIME + number)
        self.lap: Lap = voices(self.plan)[to.track]
        self.seconds = media_s(self.plan, {to.track: self.lap})
        self._ssrc, self._timestamp = dice.getrandbits(32), dice.getrandbits(32)
        self._sequence = dice.getrandbits(16)
        self._clock_hz = clock_hz(plan.codec, plan.in_rate_hz)
        self._payload_type = PAYLOAD_TYPES.get(plan.codec, DYNAMIC_TYPE)
        self._head = strep(to.call_leg_id, to.track) if to.call_leg_id else b""
        host, port = address_of(to.address)
        self._to = host, port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, cue: Cue) -> None:
        """Send a chunk, unless it is to be lost."""
        if cue.dropped:
            return
        packet = rtp(
            self.lap[cue.position % len(self.lap)],
            payload_type=self._payload_type,
            sequence=self._sequence + cue.chunk,
            timestamp=self._timestamp + round(cue.said_s * self._clock_hz),
            ssrc=self._ssrc,
            marker=cue.position == 0,
        )
        with contextlib.suppress(OSError):  # UDP: whether anybody takes it is not known
            self._socket.sendto(self._head + packet, self._to)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


async def send_tracks(plan: CallPlan, tracks: Sequence[ForkedTrack]) -> None:
    """Send these tracks side by side, from now to the plan's end.

    Args:
        plan: codec, audio, length, holds, faults and seed; all else of it has no meaning here.
        tracks: each once.

    Raises:
        PlanError, CodecError: the plan cannot be carried out here.
    """
    sending = [_Track(plan, each, number) for number, each in enumerate(tracks)]
    began_s = time.monotonic()
    try:
        await asyncio.gather(*(_send(each, began_s) for each in sending))
    finally:
        for each in sending:
            each.close()


async def _send(track: _Track, began_s: float) -> None:
    """Keep the schedule; what is late is sent at once, so the clock never drifts."""
    for cue in cues(track.plan, track.seconds):
        wait_s = cue.at_s - (time.monotonic() - began_s)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        if cue.kind == "media":
            track.send(cue)


def tracks_of(body: Mapping[str, Any], call_leg_id: str) -> list[ForkedTrack]:
    """Return what a ``fork_start`` asks for: two addresses, or one in the old form."""
    if "target" in body:
        target = body["target"]
        both: tuple[Literal["inbound", "outbound"], ...] = ("inbound", "outbound")
        return [ForkedTrack(track, target, call_leg_id) for track in both]
    return [ForkedTrack("inbound", body["rx"]), ForkedTrack("outbound", body["tx"])]


async def send_fork(body: Mapping[str, Any], plan: CallPlan, call_leg_id: str) -> None:
    """Fork a call as a ``fork_start`` asks, until it is cancelled or the plan ends."""
    await send_tracks(plan, tracks_of(body, call_leg_id))
