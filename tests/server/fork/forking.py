"""A receiver of forks in this process, and what is sent to it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import numpy as np

from mediaserver.app.forks import ForkReceiver
from mediaserver.carrier.fork import ForkedTrack
from mediaserver.carrier.fork.packets import rtp
from mediaserver.media.frames import Frame
from mediaserver.processors.api import Call, Filter
from mediaserver.server.calls.session import Session
from mediaserver.settings import ProcessorSetting, Settings
from tests.ports import free_fork_ports
from tests.server.watching import soon

RATE_HZ = 8000


def free_range(n_pairs: int) -> str:
    """Ports that nobody listens on, as ``fork_ports`` takes them."""
    first = free_fork_ports(2 * n_pairs)
    return f"{first}-{first + 2 * n_pairs - 1}"


@asynccontextmanager
async def receiving(
    *processors: ProcessorSetting, n_pairs: int = 1, **more: Any
) -> AsyncIterator[ForkReceiver]:
    """A receiver of forks on free ports of loopback; it ends clean."""
    settings = Settings(
        processors=processors, **{"fork_ports": free_range(n_pairs), "fork_idle_s": 1.0, **more}
    )
    n_files = len(os.listdir("/proc/self/fd"))
    async with ForkReceiver(settings) as receiver:
        yield receiver
    assert receiver.n_calls == 0
    assert receiver.forks.n_ports == 0
    # Sockets of the test itself may have gone meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= n_files


async def quiet(receiver: ForkReceiver, within_s: float = 30) -> None:
    """Wait until all calls have ended by themselves."""
    await soon(lambda: receiver.n_calls == 0, within_s)


async def session_of(receiver: ForkReceiver) -> Session:
    """The only live call's session."""
    sessions = receiver._calls.sessions
    await soon(lambda: bool(sessions), 20)
    (session,) = sessions.values()
    return session


def both(rx: int, tx: int, host: str = "127.0.0.1") -> list[ForkedTrack]:
    """Both tracks, to these ports."""
    return [
        ForkedTrack("inbound", f"udp:{host}:{rx}"),
        ForkedTrack("outbound", f"udp:{host}:{tx}"),
    ]


class Peer:
    """Sends single packets, of one SSRC, from one port."""

    def __init__(self, port: int, ssrc: int = 7, payload_type: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._to = "127.0.0.1", port
        self._ssrc, self._payload_type = ssrc, payload_type
        self._numbers: Iterator[int] = count(1)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, n: int = 1, value: int = 0x80, *, payload_type: int | None = None) -> None:
        """So many packets of 20 ms; each octet of them is ``value``."""
        for _ in range(n):
            number = next(self._numbers)
            self.raw(self.packet(number, bytes([value]) * 160, payload_type=payload_type))

    def skip(self, n: int) -> None:
        """So many are lost."""
        for _ in range(n):
            next(self._numbers)

    def packet(self, number: int, payload: bytes, *, payload_type: int | None = None) -> bytes:
        """One packet."""
        kind = self._payload_type if payload_type is None else payload_type
        return rtp(
            payload, payload_type=kind, sequence=number, timestamp=160 * number, ssrc=self._ssrc
        )

    def raw(self, data: bytes) -> None:
        """Any octets."""
        self.socket.sendto(data, self._to)


def impulses(seconds: float) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Noise that is like itself at no other place."""
    dice = np.random.default_rng(20)
    return (dice.standard_normal(round(RATE_HZ * seconds)) * 6000).astype(np.int16)


def apart_ms(one: Any, other: Any, rate_hz: int = RATE_HZ) -> float:
    """By how much one clip is behind another one of the same audio, by correlation."""
    n = min(len(one), len(other))
    f = np.fft.rfft(one[:n].astype(float), 2 * n) * np.conj(np.fft.rfft(other[:n], 2 * n))
    at = int(np.argmax(np.fft.irfft(f)))
    return 1000 * (at - 2 * n if at > n else at) / rate_hz


class Halves(Filter):
    """A filter: half as loud."""

    def process(self, frame: Frame) -> Frame:
        return Frame(
            frame.samples // 2, frame.rate, frame.track, frame.index, frame.start, frame.lost
        )


def header(data: bytes) -> tuple[Any, ...]:
    """The fields of a packet that was built."""
    return struct.unpack("!BBHII", data[:12])


async def talks(call: Call, problems: list[str]) -> None:
    """Tries every way back."""
    samples = np.zeros(160, np.int16)
    for attempt in (
        lambda: call.play(samples),
        lambda: call.play(samples, live=True),
        lambda: call.send({"event": "x"}),
        lambda: call.mark("m"),
    ):
        try:
            await attempt()
        except Exception as exc:
            problems.append(type(exc).__name__)
    for at_once in (lambda: call.play_live(samples), lambda: call.stream(8000)):
        try:
            at_once()
        except Exception as exc:
            problems.append(type(exc).__name__)
    assert await call.clear() == {}
