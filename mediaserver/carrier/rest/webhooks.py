"""The fake Telnyx's webhooks: signed, numbered, repeated on failure, troubled on demand."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import random
import ssl
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx
from nacl.signing import SigningKey

from mediaserver.carrier.rest.tell import Tell, line, shown_url, silent

_TIME_LIMIT_S = 2.0
_MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class WebhookFaults:
    """What happens to webhooks on their way; the default is nothing.

    Attributes:
        copies: how often each is delivered.
        delay_s: every delivery is late by so much.
        scatter_s: and by up to so much more, each for itself: they overtake one another.
        seed: of the scatter.
        shape: ``v2``, the default; ``v1``, as an application made over the API has it: no
            envelope, signed by HMAC; ``quickstart``: no envelope, ``webhook_id`` for ``id``.
    """

    copies: int = 1
    delay_s: float = 0.0
    scatter_s: float = 0.0
    seed: int = 0
    shape: Literal["v2", "v1", "quickstart"] = "v2"


@dataclass(frozen=True)
class Delivery:
    """One delivery that was tried.

    Attributes:
        event_type: of the event.
        event_id: the same on every attempt and copy.
        attempt: from 1.
        status: what the receiver answered; None if nothing.
    """

    event_type: str
    event_id: str
    attempt: int
    status: int | None


@dataclass
class WebhookSender:
    """Sends events; without faults in order, each until it is answered 2xx, thrice at most.

    Attributes:
        key: signs; its public half is ``public_key``.
        faults: may be replaced at any time.
        retry_s: pause before a delivery is repeated.
        deliveries: every one tried so far.
        tls: who is trusted behind https; None: as ``SSL_CERT_FILE`` says, else the public
            authorities.
        tell: told of each delivery.
    """

    key: SigningKey = field(default_factory=SigningKey.generate, repr=False)
    faults: WebhookFaults = field(default_factory=WebhookFaults)
    retry_s: float = 0.2
    deliveries: list[Delivery] = field(default_factory=list, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    tell: Tell = field(default=silent, repr=False)
    _tasks: set[asyncio.Task[None]] = field(init=False, repr=False, default_factory=set)
    _in_order: asyncio.Lock = field(init=False, repr=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.faults.seed)
        # No proxy of the environment: the receiver is on this machine, or a tunnel.
        self._http = httpx.AsyncClient(
            timeout=_TIME_LIMIT_S, trust_env=False, verify=self.tls or trusting()
        )

    @property
    def public_key(self) -> str:
        """Base64 of the key that checks the signatures."""
        return base64.b64encode(bytes(self.key.verify_key)).decode("ascii")

    def send(self, url: str, event_type: str, payload: dict[str, Any]) -> None:
        """Have an event delivered; returns at once."""
        event = {
            "record_type": "event",
            "event_type": event_type,
            "id": str(uuid.uuid4()),
            "occurred_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "payload": payload,
        }
        for _ in range(self.faults.copies):
            task = asyncio.create_task(self._deliver(url, event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def flush(self, limit_s: float = 5.0) -> None:
        """Wait until everything sent so far has arrived or was given up."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=limit_s)

    async def aclose(self) -> None:
        """Wait for deliveries for a moment, then end them."""
        await self.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    async def _deliver(self, url: str, event: dict[str, Any]) -> None:
        faults = self.faults
        if faults.delay_s or faults.scatter_s or faults.copies > 1:
            await asyncio.sleep(faults.delay_s + self._random.uniform(0, faults.scatter_s))
            await self._attempt_all(url, event)
        else:
            async with self._in_order:
                await self._attempt_all(url, event)

    async def _attempt_all(self, url: str, event: dict[str, Any]) -> None:
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            came = await self._attempt(url, event, attempt)
            status = came if isinstance(came, int) else None
            delivery = Delivery(event["event_type"], event["id"], attempt, status)
            self.deliveries.append(delivery)
            is_taken = status is not None and 200 <= status < 300
            self._tell(url, delivery, came, is_last=is_taken or attempt == _MAX_ATTEMPTS)
            if is_taken:
                return
            await asyncio.sleep(self.retry_s)

    def _tell(self, url: str, delivery: Delivery, came: int | str, *, is_last: bool) -> None:
        attempt = "" if delivery.attempt == 1 else f", attempt {delivery.attempt}"
        given_up = is_last and not (isinstance(came, int) and 200 <= came < 300)
        what = f"webhook {delivery.event_type} to {shown_url(url)}{attempt} → {came}"
        self.tell(line(what + (", given up" if given_up else "")))

    async def _attempt(self, url: str, event: dict[str, Any], attempt: int) -> int | str:
        """Deliver once; the status, or why there was no answer."""
        body = json.dumps(_shaped(event, self.faults.shape, attempt, url)).encode()
        headers = {"content-type": "application/json", **self._signed(body)}
        try:
            response = await self._http.post(url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _why(error, url)
        return response.status_code

    def _signed(self, body: bytes) -> dict[str, str]:
        """The headers that prove who sent it: Ed25519, or the HMAC of version 1."""
        if self.faults.shape == "v1":
            mac = hmac.new(bytes(self.key), body, "sha256").digest()
            return {"x-telnyx-signature": base64.b64encode(mac).decode("ascii")}
        at = str(int(time.time()))
        signature = self.key.sign(f"{at}|".encode() + body).signature
        return {
            "telnyx-signature-ed25519": base64.b64encode(signature).decode("ascii"),
            "telnyx-timestamp": at,
        }


def trusting(authority: Path | None = None) -> ssl.SSLContext:
    """Whom to trust behind https: those of ``SSL_CERT_FILE``, else the public ones; and this one.

    Raises:
        OSError: a file cannot be read, or holds no certificate.
    """
    context = httpx.create_ssl_context()
    if authority is not None:
        context.load_verify_locations(authority)
    return context


def _why(error: Exception, url: str) -> str:
    """In a few words, why there was no answer; the URL may hold a token, and is left out."""
    said = str(error).replace(url, "the URL") or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return f"no answer: {said}: its authority is named by --webhook-ca or SSL_CERT_FILE"
    return f"no answer: {said}"


def _shaped(event: dict[str, Any], shape: str, attempt: int, url: str) -> dict[str, Any]:
    """The body of a delivery, in one of the three shapes that are seen."""
    if shape == "v2":
        return {"data": event, "meta": {"attempt": attempt, "delivered_to": url}}
    at = event["occurred_at"]
    top = {"record_type": "event", "created_at": at, "payload": event["payload"]}
    if shape == "quickstart":
        return top | {"webhook_id": event["id"], "event_type": event["event_type"]}
    top["payload"] = event["payload"] | {"occurred_at": at}
    return top | {"id": event["id"], "event_type": event["event_type"].replace(".", "_")}
