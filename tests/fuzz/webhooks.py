"""Webhooks: what is in their bodies, and whether their headers show that they are Telnyx'."""

from __future__ import annotations

import base64

from nacl.signing import SigningKey

from mediaserver.control.events import Event, MalformedEventError, parse_event
from mediaserver.control.webhooks.receiver import WebhookReceiver
from mediaserver.control.webhooks.signature import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SignatureError,
    Verifier,
)
from tests.fuzz.harness import Target

NOW = 1_790_000_000
KEY = SigningKey(b"k" * 32)
PUBLIC = base64.b64encode(bytes(KEY.verify_key)).decode()
BODY = b'{"data":{"event_type":"streaming.started","id":"e1","payload":{}}}'
TEXTS = ("call_control_id", "call_leg_id", "call_session_id", "connection_id", "occurred_at")


def signed(body: bytes, at: bytes) -> bytes:
    return base64.b64encode(KEY.sign(at + b"|" + body).signature)


def a_body(data: bytes) -> bool:
    """An event with the types that it says, or a refusal; signed, the receiver says the same."""
    at = str(NOW).encode()
    headers = [(SIGNATURE_HEADER.encode(), signed(data, at)), (TIMESTAMP_HEADER.encode(), at)]
    receiver = WebhookReceiver([PUBLIC], wall_clock=lambda: NOW, clock=lambda: 0.0)
    verdict = receiver.receive(headers, data)
    try:
        event = parse_event(data)
    except MalformedEventError:
        assert (verdict.counted_as, verdict.event) == ("malformed", None)
        return False
    assert isinstance(event, Event)
    assert verdict.counted_as == "accepted"
    assert isinstance(event.id, str)
    assert isinstance(event.event_type, str)
    assert event.client_state is None or isinstance(event.client_state, bytes)
    assert all(isinstance(getattr(event, name), str | None) for name in TEXTS)
    str(event)
    hash(event.id)
    assert receiver.receive(headers, data).counted_as == "duplicate"
    return True


WEBHOOK_BODIES = Target(a_body, calls=1500, calls_per_octet=20.0, octets_per_octet=600.0)


def some_headers(data: bytes) -> bool:
    """Lines ``name: value``, and behind an empty one the body: only what Telnyx signed passes."""
    head, _, body = data.partition(b"\n\n")
    headers = []
    for line in head.split(b"\n"):
        name, _, value = line.partition(b": ")
        headers.append((name, value))
    try:
        Verifier([PUBLIC]).verify(headers, body, NOW)
    except SignatureError:
        return False
    named = {name.lower(): value for name, value in headers}
    at = named[TIMESTAMP_HEADER.encode()]
    assert named[SIGNATURE_HEADER.encode()] == signed(body, at), "forged"
    assert abs(int(at) - NOW) <= 300
    return True


WEBHOOK_HEADERS = Target(some_headers, calls=1500, calls_per_octet=10.0)
