"""What looks wrong about a call, and what must not."""

from __future__ import annotations

import numpy as np
from pybase64 import b64encode

from mediaserver.carrier import CallPlan
from mediaserver.server.calls.session import Session
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import Settings
from telephony_codecs import codec
from tests.server.playbots import VirtualStream

SILENCE = b64encode(codec("PCMU").encoder().encode(np.zeros(160, np.int16))).decode()
TALK = b64encode(codec("PCMU").encoder().encode(np.full(160, 900, np.int16))).decode()


def names(session: Session, now: float) -> list[str]:
    playout = session.outbound.playout
    return [hint.name for hint in session.watch.diagnostics.look(session.inbound, playout, now)]


async def test_a_server_that_stood_still_gives_no_false_hints() -> None:
    """After 45 s in which nothing was read, the backlog is neither too fast, slow nor silent."""
    service = SingleProcessService(Settings(reconnect_grace_s=0))
    stream = VirtualStream(service, CallPlan())
    session = stream.connection.session
    assert session is not None
    said: list[str] = []
    for n in range(60 * 50):
        at = n / 50
        came = 51.0 if 6 <= at < 51 else at
        # What is looked at behind the burst happens to be silent.
        stream.media(came, n + 1, SILENCE if 50 <= at < 52 else TALK)
        if n % 50 == 0:
            if at == 51:
                said += names(session, stream.origin + came)
            elif at == 30:  # the clock's second has come in the middle of the burst
                said += names(session, stream.origin + came + 0.001)
            elif not 6 <= at < 51:
                said += names(session, stream.origin + came)
    assert said == []
    stream.stop(60.0)
    await service.close()


async def test_audio_of_another_rate_is_said_whatever_stalls_there_were() -> None:
    """Twice as much audio as time, or half as much, is found out; a hold does not hide it."""
    for n_octets, expected in ((320, ["rate_inbound"]), (80, ["rate_inbound"])):
        service = SingleProcessService(Settings(reconnect_grace_s=0))
        stream = VirtualStream(service, CallPlan())
        session = stream.connection.session
        assert session is not None
        said: list[str] = []
        payload = b64encode(bytes([40]) * n_octets).decode()
        for n in range(14 * 50):
            if not 100 <= n < 200:
                stream.media(n / 50, n + 1, payload)
            if n % 50 == 49:
                said += names(session, stream.origin + n / 50)
        assert said == expected
        stream.stop(14.0)
        await service.close()
