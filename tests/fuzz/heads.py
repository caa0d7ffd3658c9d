"""The head of an upgrade request, and what it asks for."""

from __future__ import annotations

import http
from collections import Counter

from websockets.http11 import Request

from mediaserver.server.admission import AdmissionControl, Upgrade
from mediaserver.server.sockets.first_bytes import wants_websocket
from mediaserver.server.sockets.media_socket import make_protocol
from mediaserver.settings import Settings
from tests.fuzz.harness import Target

TOKEN = "s3cret"


class Host:
    """A server that has room, and no calls."""

    draining = False
    is_able = True
    overload = ""
    n_placed = n_unstarted = n_quiet = 0

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def has_call(self, call_id: str) -> bool:
        return False

    def count(self, name: str) -> None:
        self.counts[name] += 1


SETTINGS = (Settings(), Settings(auth_token=TOKEN, public_url="https://a.example/behind/proxy"))


def a_head(data: bytes) -> bool:
    """A head is read or refused; one that is read is judged, and only a right token proves."""
    head = data + b"\r\n\r\n"
    wants_websocket(head)
    protocol = make_protocol()
    protocol.receive_data(head)
    events = protocol.events_received()
    if not events:
        return False
    request = events[0]
    assert isinstance(request, Request)
    response = protocol.accept(request)
    if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
        return False
    taken = True
    for settings in SETTINGS:
        judged = AdmissionControl(settings, Host()).judge_upgrade(request)
        if isinstance(judged, Upgrade):
            assert judged.path == "/media"
            assert settings.auth_token is None or judged.token in (None, TOKEN)
            assert all(isinstance(each, str) for pair in judged.query.items() for each in pair)
        else:
            status, text = judged
            assert isinstance(status, http.HTTPStatus)
            assert text.endswith("\n")
            taken = False
    return taken


REQUEST_HEADS = Target(a_head, calls=4000, calls_per_octet=60.0, octets_per_octet=400.0)
