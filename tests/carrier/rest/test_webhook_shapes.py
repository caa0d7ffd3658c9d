"""The three shapes of a webhook, as they leave the fake (protocol.md 4)."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

from nacl.signing import SigningKey, VerifyKey

from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.webhooks import WebhookFaults
from tests.carrier.rest.raw import raw

KEY = SigningKey(b"k" * 32)
ED25519, HMAC = "telnyx-signature-ed25519", "x-telnyx-signature"


async def delivered(shape: Any) -> tuple[Any, bytes, dict[str, Any]]:
    """Headers, exact body and JSON of a ``call.initiated``."""
    faults = WebhookFaults(shape=shape)
    habits = Habits(answer="never")
    async with raw(webhook_faults=faults, signing_key=KEY, habits=habits) as r:
        await r.dial()
        await r.until(lambda: bool(r.deliveries))
        headers, body = r.deliveries[0]
        return headers, body, json.loads(body)


def require_ed25519(headers: Any, body: bytes) -> None:
    signed = headers["telnyx-timestamp"].encode() + b"|" + body
    VerifyKey(bytes(KEY.verify_key)).verify(signed, base64.b64decode(headers[ED25519]))
    assert HMAC not in headers


async def test_version_2_has_an_envelope_and_ed25519() -> None:
    """Under ``data``, with ``meta`` beside it."""
    headers, body, event = await delivered("v2")
    require_ed25519(headers, body)
    assert set(event) == {"data", "meta"}
    assert set(event["data"]) == {"record_type", "event_type", "id", "occurred_at", "payload"}
    assert event["data"]["event_type"] == "call.initiated"
    assert event["meta"]["attempt"] == 1


async def test_version_1_has_no_envelope_and_hmac() -> None:
    """Top level, underscores, ``created_at``, the time in the payload; not Ed25519."""
    headers, body, event = await delivered("v1")
    assert ED25519 not in headers
    mac = hmac.new(bytes(KEY), body, "sha256").digest()
    assert base64.b64decode(headers[HMAC]) == mac
    assert set(event) == {"record_type", "id", "event_type", "created_at", "payload"}
    assert event["event_type"] == "call_initiated"
    assert event["payload"]["occurred_at"] == event["created_at"]


async def test_the_quickstart_has_no_envelope_and_ed25519() -> None:
    """Top level, ``webhook_id`` for ``id``, dots."""
    headers, body, event = await delivered("quickstart")
    require_ed25519(headers, body)
    assert set(event) == {"record_type", "webhook_id", "event_type", "created_at", "payload"}
    assert event["event_type"] == "call.initiated"
