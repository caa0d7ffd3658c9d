"""The forks of one process: ports handed out and taken back, packets to their calls."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import NamedTuple

from mediaserver.errors import ConfigurationError
from mediaserver.media.frames import Track
from mediaserver.server.calls.registry import CallRegistry
from mediaserver.server.fork.forked_call import ForkedCall
from mediaserver.server.fork.payloads import Payloads, payloads_of
from mediaserver.server.fork.ports import (
    MAX_PACKET_BYTES,
    Pair,
    PortRange,
    UdpReader,
    told_host,
)
from mediaserver.server.fork.source import Address
from mediaserver.settings import Settings
from mediaserver.wire.messages import StartBody
from mediaserver.wire.rtp import MalformedPacketError
from mediaserver.wire.strep import is_strep, parse_strep

# Calls by leg id of which nothing but single packets has come yet.
MAX_UNSTARTED = 64
LOOK_EVERY_S = 1.0


class ForkTarget(NamedTuple):
    """Where a fork is to go: ``rx`` and ``tx`` of ``fork_start``, as ``udp:ip:port``."""

    rx: str
    tx: str


class Forks:
    """Receives forks for the calls of a registry.

    **Call ``start``; then ``open`` for each call that is to be forked, or ``listen`` once for
    those that somebody else forks; ``close`` at the end, before the registry's.**

    Args:
        settings: those that begin with ``fork_``, and ``host``.
        registry: has the sessions.

    Attributes:
        registry: as given.
        payloads: what each payload type holds.
        idle_s: so long nothing may come of a call, then it has ended.

    Raises:
        ConfigurationError: a setting cannot be used.
    """

    def __init__(self, settings: Settings, registry: CallRegistry) -> None:
        self.registry = registry
        self.payloads: Payloads = payloads_of(settings)
        self.idle_s: float = settings.fork_idle_s
        self._settings = settings
        self._ports = PortRange(settings)
        self._networks = [_network(each) for each in settings.fork_from]
        self._stations: set[_Station] = set()
        self._handed_out: dict[str, _Station] = {}
        self._legs: dict[str, ForkedCall] = {}
        self._reader: UdpReader | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Be ready to open ports."""
        self._reader = UdpReader()
        self._look()

    @property
    def n_ports(self) -> int:
        """UDP ports that are open."""
        return 2 * len(self._stations)

    def open(self, call_control_id: str, parameters: Mapping[str, str] | None = None) -> ForkTarget:
        """Open two ports for a call that is about to be forked.

        Args:
            call_control_id: of the call.
            parameters: its custom parameters, as of a stream.

        Raises:
            ConfigurationError: no port is free, ``fork_host`` is not known, or the call is being
                received.
        """
        host = told_host(self._settings)
        former = self._handed_out.get(call_control_id)
        if former is not None and former.fork is not None and former.fork.is_live(monotonic()):
            raise ConfigurationError("the call is forked to this server already")
        self.stopped(call_control_id)  # one of which nothing comes
        pair = self._take()
        body = self._body(call_control_id, parameters or {})
        fork = ForkedCall(self, body)
        self._handed_out[call_control_id] = self._serve(_Station(self, pair, fork))
        rx, tx = pair.ports
        return ForkTarget(f"udp:{host}:{rx}", f"udp:{host}:{tx}")

    def listen(self) -> list[tuple[int, int]]:
        """Open every pair of the range, for whoever forks to it; each serves call after call.

        Returns:
            The ports of each pair, rx and tx. STREP goes to any of them.
        """
        return [
            self._serve(_Station(self, self._take(), None)).pair.ports
            for _ in range(self._ports.n_free)
        ]

    def stopped(self, call_control_id: str) -> None:
        """The fork of a call was stopped, or has not come about: its ports are closed."""
        station = self._handed_out.get(call_control_id)
        if station is not None and station.fork is not None:
            station.fork.stop()

    def close(self) -> None:
        """Close all ports; the sessions end with their registry."""
        if self._timer is not None:
            self._timer.cancel()
        for station in list(self._stations):
            self._leave(station)
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # ForkHost: what forked calls need.

    def may_begin(self, address: Address) -> bool:
        """Whether a fork may come from there: from anywhere, or from ``fork_from`` only."""
        if not self._networks:
            return True
        source = ipaddress.ip_address(str(address[0]).partition("%")[0])
        return any(source in network for network in self._networks)

    def fork_over(self, fork: ForkedCall) -> None:
        """It has ended: ports that were handed out for it are closed."""
        station = self._handed_out.get(fork.call_id)
        if station is not None and station.fork is fork:
            del self._handed_out[fork.call_id]
            self._leave(station)

    # Packets.

    def fork_of_leg(self, call_leg_id: str) -> ForkedCall:
        """The call whose packets name this leg; those that name one alone give way."""
        fork = self._legs.get(call_leg_id)
        if fork is None:
            unstarted = [each for each in self._legs.values() if each.session is None]
            if len(unstarted) >= MAX_UNSTARTED:
                unstarted[0].stop()
                del self._legs[unstarted[0].call_id]
            fork = self._legs[call_leg_id] = self.new_fork(call_leg_id)
        return fork

    def new_fork(self, call_id: str) -> ForkedCall:
        """A call that somebody else has forked."""
        return ForkedCall(self, StartBody(call_control_id=call_id))

    def drop(self, kind: str) -> None:
        """Count a packet that is of no call."""
        self.registry.count(f"fork_refused.{kind}")

    def _look(self) -> None:
        """Once a second: a fork of which no audio comes is given up."""
        now = monotonic()
        given_up_at = now - self.idle_s
        opened = [s.fork for s in self._handed_out.values() if s.fork is not None]
        for fork in [*opened, *self._legs.values()]:
            if fork.session is None and fork.opened_at < given_up_at:
                fork.stop()
        for leg_id in [leg_id for leg_id, fork in self._legs.items() if fork.is_gone(now)]:
            del self._legs[leg_id]
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _body(self, call_control_id: str, parameters: Mapping[str, str]) -> StartBody:
        """What is known of a call: of its stream, where it has one."""
        session = self.registry.sessions.get(call_control_id)
        known = StartBody() if session is None else session.facts.start.start
        return StartBody(
            call_control_id=call_control_id,
            call_session_id=known.call_session_id,
            from_=known.from_,
            to=known.to,
            client_state=known.client_state,
            custom_parameters=dict(parameters),
        )

    def _take(self) -> Pair:
        if self._reader is None:
            raise ConfigurationError("the receiver of forks has not started")
        return self._ports.take()

    def _serve(self, station: _Station) -> _Station:
        assert self._reader is not None
        self._stations.add(station)
        self._reader.add(station.pair.rx, partial(station.received, "inbound"))
        self._reader.add(station.pair.tx, partial(station.received, "outbound"))
        return station

    def _leave(self, station: _Station) -> None:
        if station not in self._stations:  # the server ends, and has closed all ports
            return
        self._stations.remove(station)
        if self._reader is not None:
            self._reader.remove(station.pair.rx)
            self._reader.remove(station.pair.tx)
        self._ports.give_back(station.pair)


class _Station:
    """A pair of open ports.

    Args:
        receiver: owns it.
        pair: its sockets.
        fork: the one call that it is for; None: for one after the other.
    """

    _numbers = itertools.count(1)

    def __init__(self, receiver: Forks, pair: Pair, fork: ForkedCall | None) -> None:
        self._receiver = receiver
        self.pair = pair
        self.fork = fork
        self._is_for_one = fork is not None

    def received(self, track: Track, data: bytes, address: Address, now: float) -> None:
        """From a socket: one packet."""
        if len(data) >= MAX_PACKET_BYTES:
            self._receiver.drop("too_long")
        elif is_strep(data):
            self._strep_received(data, address, now)
        else:
            fork = self.fork
            if fork is None or fork.is_gone(now):
                fork = self._next()
            fork.packet_received(track, data, address, now)

    def _next(self) -> ForkedCall:
        if self._is_for_one:
            assert self.fork is not None
            return self.fork
        name = f"fork-{self.pair.ports[0]}-{next(self._numbers)}"
        self.fork = self._receiver.new_fork(name)
        return self.fork

    def _strep_received(self, data: bytes, address: Address, now: float) -> None:
        try:
            header = parse_strep(data)
        except MalformedPacketError as exc:
            self._receiver.drop(exc.kind)
            return
        fork = self.fork if self._is_for_one else None
        if fork is None:
            fork = self._receiver.fork_of_leg(header.call_leg_id)
        fork.packet_received(header.track, data[header.n_bytes :], address, now)


def _network(written: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(written, strict=False)
    except ValueError as exc:
        raise ConfigurationError(f"wrong setting fork_from: {exc}") from exc
