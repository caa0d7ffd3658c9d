"""One forked call: from its ports, or from STREP packets, to its session and its end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import NoReturn, Protocol

from mediaserver.errors import LISTEN_ONLY, ListenOnlyError
from mediaserver.logs import LimitedLog, shown
from mediaserver.media.frames import Track
from mediaserver.server.admission import Refused
from mediaserver.server.calls.registry import CallRegistry
from mediaserver.server.calls.session import Halves, Session
from mediaserver.server.fork.inbound import ForkInbound
from mediaserver.server.fork.outbound import ForkOutbound
from mediaserver.server.fork.payloads import PayloadAudio, Payloads
from mediaserver.server.fork.source import QUIET_S, Address, SourceLock
from mediaserver.wire.messages import MediaFormat, Start, StartBody
from mediaserver.wire.rates import Rates
from mediaserver.wire.rtp import MalformedPacketError, RtpPacket, parse_rtp

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


class ForkHost(Protocol):
    """Who owns the forked calls.

    Attributes:
        registry: has the sessions.
        payloads: what each payload type holds.
        idle_s: so long nothing may come of a call.
    """

    registry: CallRegistry
    payloads: Payloads
    idle_s: float

    def may_begin(self, address: Address) -> bool:
        """Whether a fork may come from there."""

    def fork_over(self, fork: ForkedCall) -> None:
        """The fork has ended; called once."""


class ForkedCall:
    """The line of a call that can be heard only; ``registry.Entrance``.

    **Call ``packet_received`` for each packet.** The session begins with the first audio.

    Args:
        host: owns it.
        body: what is known of the call; its ``call_control_id`` at least.

    Attributes:
        query: none.
        path: none.
        session: once audio has come.
        is_over: its ports are closed, or serve another call.
    """

    query: Mapping[str, str] = {}
    path = "/media"

    def __init__(self, host: ForkHost, body: StartBody) -> None:
        self._host = host
        self._body = body
        self.session: Session | None = None
        self.is_over: bool = False
        self.opened_at: float = monotonic()
        self._locks: dict[Track, SourceLock] = {"inbound": SourceLock(), "outbound": SourceLock()}
        self._inbound: ForkInbound | None = None
        self._refused: Counter[str] = Counter()
        self._rates = Rates()
        self._n_media = 0

    @property
    def call_id(self) -> str:
        """Its ``call_control_id``, or what stands in for it."""
        return self._body.call_control_id or ""

    def packet_received(self, track: Track, data: bytes, address: Address, now: float) -> None:
        """One RTP packet, of this track."""
        try:
            packet = parse_rtp(data)
        except MalformedPacketError as exc:
            self.drop(exc.kind)
            return
        lock = self._locks[track]
        if packet.ssrc == lock.ssrc and address == lock.address:
            lock.heard_at = now
            if self._inbound is not None:
                self._inbound.packet_received(track, packet, now)
            else:
                self._take(track, packet, now)
            return
        if lock.address != address and not self._host.may_begin(address):
            self.drop("not_allowed")
            return
        judged = lock.judge(address, packet, now)
        if judged.refused:
            self.drop(judged.refused)
        if judged.is_new and self._inbound is not None:
            self._inbound.new_source(track)
        for each in judged.packets:
            self._take(track, each, now)

    def is_live(self, now: float) -> bool:
        """Packets come."""
        return now - max(lock.heard_at for lock in self._locks.values()) < QUIET_S

    def is_gone(self, now: float) -> bool:
        """It is over, and so is what came of it: the next packet is another call's."""
        return self.is_over and not self.is_live(now)

    def drop(self, kind: str) -> None:
        """Count a packet that is of no use."""
        self._refused[kind] += 1
        self._host.registry.count(f"fork_refused.{kind}")

    def stop(self, reason: str = "stop") -> None:
        """End it, and its session."""
        if self.session is not None:
            self.session.end(reason)
        self._over()

    def _take(self, track: Track, packet: RtpPacket, now: float) -> None:
        if self.is_over:
            self.drop("after_end")
            return
        if self._inbound is None:
            self._begin(packet, now)
        if self._inbound is not None:
            self._inbound.packet_received(track, packet, now)

    def _begin(self, packet: RtpPacket, now: float) -> None:
        """The first packet: with audio that is known the session begins."""
        audio = self._host.payloads.get(packet.payload_type)
        if audio is None:
            self.drop("payload_type")
            limited.warning(
                "payload types of forks",
                "forked call %s: payload type %d is not known; set fork_payload_types",
                shown(self.call_id),
                packet.payload_type,
                call=self.call_id,
            )
            return
        halves = Halves(partial(ForkInbound, self._host.payloads), ForkOutbound)
        start = self._start(audio)
        answer = self._host.registry.open_fork(self, start, audio.formats, halves, now)
        if isinstance(answer, Refused):
            limited.warning(
                "forks refused",
                "forked call %s refused: %s",
                shown(self.call_id),
                shown(answer.reason, 300),
                call=self.call_id,
            )
            self._over()
            return
        self.session = answer.session
        assert isinstance(answer.session.inbound, ForkInbound)
        self._inbound = answer.session.inbound
        self._host.registry.count("forks")

    def _start(self, audio: PayloadAudio) -> Start:
        """What a stream's ``start`` would say."""
        body, given = self._body, MediaFormat(audio.codec, audio.rate_hz)
        return Start(
            StartBody(
                call_control_id=body.call_control_id,
                call_session_id=body.call_session_id,
                from_=body.from_,
                to=body.to,
                client_state=body.client_state,
                custom_parameters=body.custom_parameters,
                media_format=given,
            )
        )

    def _over(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._inbound = None
        if self._refused:
            limited.warning(
                "forks with refused packets",
                "forked call %s: refused packets: %s",
                shown(self.call_id),
                dict(self._refused),
                call=self.call_id,
            )
        self._host.fork_over(self)

    # Line: what the session needs.

    @property
    def n_refused(self) -> int:
        """Packets that were refused."""
        return self._refused.total()

    def refuse(self, kind: str) -> None:
        """Count a packet whose content turned out to be of no use."""
        self.drop(kind)

    def look(self, n_media: int, now: float) -> None:
        """Once a second: end a call of which nothing comes, or far too much."""
        n_new, self._n_media = n_media - self._n_media, n_media
        session = self.session
        if session is None:
            return
        if n_new and not self._rates.allow("media", now, n_new):
            self.drop("too_many")
            session.end("lost")
        elif now - session.inbound.heard_at >= self._host.idle_s:
            session.end("silent")

    def close(self, code: int, reason: str = "") -> None:
        """The session is over: so is the fork here."""
        self._over()

    def send_text(self, data: bytes) -> NoReturn:
        """See ``Call.send``: there is no way back."""
        raise ListenOnlyError(LISTEN_ONLY)

    def send_media(self, payload: bytes) -> None:
        """Nothing is played."""

    def send_mark(self, name: str) -> None:
        """Nothing is played."""

    def send_clear(self) -> None:
        """Nothing is played."""
