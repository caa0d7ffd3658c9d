"""Webhook deliveries, signed as Telnyx signs them, and a receiver to bring them to."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import httpx
from nacl.signing import SigningKey
from starlette.applications import Starlette

from mediaserver.control.webhooks.receiver import WebhookReceiver, webhook_route

NOW = 1_790_000_000
KEY = SigningKey(b"k" * 32)
OTHER_KEY = SigningKey(b"o" * 32)
SIGNATURE, TIMESTAMP = "telnyx-signature-ed25519", "telnyx-timestamp"


def public(key: SigningKey) -> str:
    return base64.b64encode(bytes(key.verify_key)).decode()


def envelope(event_type: str = "streaming.started", id: str = "e1", **payload: Any) -> bytes:
    data = {"record_type": "event", "event_type": event_type, "id": id, "payload": payload}
    return json.dumps({"data": data, "meta": {"attempt": 1}}).encode()


BODY = envelope(call_control_id="v3:a")


def signature(body: bytes = BODY, at: int | str = NOW, key: SigningKey = KEY) -> bytes:
    return key.sign(f"{at}|".encode() + body).signature


def headers(
    body: bytes = BODY, at: int | str = NOW, key: SigningKey = KEY
) -> list[tuple[str, str]]:
    sig = base64.b64encode(signature(body, at, key)).decode()
    return [(SIGNATURE, sig), (TIMESTAMP, str(at))]


def receiver(keys: Iterable[str] = (public(KEY),), **settings: Any) -> WebhookReceiver:
    return WebhookReceiver(keys, wall_clock=lambda: NOW, **settings)


async def delivered(
    to: WebhookReceiver, named: list[tuple[str, str]], body: bytes, method: str = "POST"
) -> int:
    """The status of one delivery to the receiver's route, in process."""
    transport = httpx.ASGITransport(Starlette(routes=[webhook_route(to)]))
    raw = [(name.encode(), value.encode()) for name, value in named]
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        response = await http.request(method, "/webhooks/telnyx", headers=raw, content=body)
    return response.status_code
