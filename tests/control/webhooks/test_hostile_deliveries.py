"""Deliveries that Telnyx did not send, or not so, are refused."""

from __future__ import annotations

import base64
import json
import random

import pytest

from mediaserver.control.events import Event
from mediaserver.control.webhooks.receiver import MAX_BODY_BYTES
from mediaserver.control.webhooks.signature import SignatureError, Verifier
from tests.control.webhooks.deliveries import (
    BODY,
    KEY,
    NOW,
    OTHER_KEY,
    SIGNATURE,
    TIMESTAMP,
    delivered,
    headers,
    public,
    receiver,
    signature,
)

ORDER = 2**252 + 27742317777372353535851937790883648493


def swapped(name: str, value: str) -> list[tuple[str, str]]:
    return [(n, value if n == name else v) for n, v in headers()]


def malleable() -> str:
    """The same signature with the group order added to its scalar, as some libraries accept."""
    raw = signature()
    scalar = int.from_bytes(raw[32:], "little") + ORDER
    return base64.b64encode(raw[:32] + scalar.to_bytes(32, "little")).decode()


def flipped(at: int) -> str:
    raw = bytearray(signature())
    raw[at] ^= 1
    return base64.b64encode(bytes(raw)).decode()


SIG = base64.b64encode(signature()).decode()
LOOSE_SIG = SIG[:85] + chr(ord(SIG[85]) + 1) + SIG[86:]
"""The last character's unused bits set: the same octets to a lax decoder."""
NOT_JSON = b"{"
NO_ID = json.dumps({"data": {"event_type": "a.b"}}).encode()

HOSTILE: dict[str, tuple[list[tuple[str, str]], bytes, int]] = {
    "body with one letter changed": (headers(), BODY.replace(b"v3:a", b"v3:b"), 401),
    "body with a blank more": (headers(), BODY + b" ", 401),
    "body cut by one": (headers(), BODY[:-1], 401),
    "body empty": (headers(), b"", 401),
    "body serialised again": (headers(), json.dumps(json.loads(BODY), indent=1).encode(), 401),
    "body with keys sorted": (
        headers(),
        json.dumps(json.loads(BODY), sort_keys=True).encode(),
        401,
    ),
    "body with another line end": (headers(), BODY + b"\r\n", 401),
    "body of another encoding": (headers(), BODY.decode().encode("utf-16"), 401),
    "body with a mark in front": (headers(), b"\xef\xbb\xbf" + BODY, 401),
    "body of 1 MiB": (headers(b" " * (1 << 20)), b" " * (1 << 20), 413),
    "body just over the cap": (headers(), b" " * (MAX_BODY_BYTES + 1), 413),
    "timestamp changed": (swapped(TIMESTAMP, str(NOW + 1)), BODY, 401),
    "timestamp stale": (headers(at=NOW - 301), BODY, 401),
    "timestamp future": (headers(at=NOW + 301), BODY, 401),
    "timestamp in milliseconds": (headers(at=NOW * 1000), BODY, 401),
    "timestamp negative": (headers(at=-NOW), BODY, 401),
    "timestamp signed": (headers(at=f"+{NOW}"), BODY, 401),
    "timestamp with a point": (headers(at=f"{NOW}.0"), BODY, 401),
    "timestamp with an underscore": (headers(at="1_790_000_000"), BODY, 401),
    "timestamp in words": (headers(at="now"), BODY, 401),
    "timestamp not a number": (headers(at="nan"), BODY, 401),
    "timestamp empty": (swapped(TIMESTAMP, ""), BODY, 401),
    "timestamp missing": (headers()[:1], BODY, 401),
    "timestamp twice": ([*headers(), (TIMESTAMP, str(NOW))], BODY, 401),
    "timestamp in other digits": (swapped(TIMESTAMP, "\u0661\u0667\u0669"), BODY, 401),
    "timestamp of a thousand digits": (swapped(TIMESTAMP, "1" * 1000), BODY, 401),
    "key of somebody else": (headers(key=OTHER_KEY), BODY, 401),
    "signature of another body": (swapped(SIGNATURE, headers(b"x")[0][1]), BODY, 401),
    "signature without the timestamp": (
        swapped(SIGNATURE, base64.b64encode(KEY.sign(BODY).signature).decode()),
        BODY,
        401,
    ),
    "signature missing": (headers()[1:], BODY, 401),
    "signature empty": (swapped(SIGNATURE, ""), BODY, 401),
    "signature twice": ([*headers(), headers()[0]], BODY, 401),
    "signature in hex": (swapped(SIGNATURE, signature().hex()), BODY, 401),
    "signature URL-safe": (
        swapped(SIGNATURE, base64.urlsafe_b64encode(b"\xff" * 64).decode()),
        BODY,
        401,
    ),
    "signature without padding": (swapped(SIGNATURE, SIG.rstrip("=")), BODY, 401),
    "signature with loose bits": (swapped(SIGNATURE, LOOSE_SIG), BODY, 401),
    "signature with a blank inside": (swapped(SIGNATURE, SIG[:40] + " " + SIG[40:]), BODY, 401),
    "signature truncated": (
        swapped(SIGNATURE, base64.b64encode(signature()[:63]).decode()),
        BODY,
        401,
    ),
    "signature over-long": (
        swapped(SIGNATURE, base64.b64encode(signature() + b"\0").decode()),
        BODY,
        401,
    ),
    "signature malleable": (swapped(SIGNATURE, malleable()), BODY, 401),
    "signature with its first bit flipped": (swapped(SIGNATURE, flipped(0)), BODY, 401),
    "signature with its last bit flipped": (swapped(SIGNATURE, flipped(63)), BODY, 401),
    "signature of zeros": (swapped(SIGNATURE, base64.b64encode(bytes(64)).decode()), BODY, 401),
    "signature not ASCII": (swapped(SIGNATURE, "é" * 88), BODY, 401),
    "signed, not JSON": (headers(NOT_JSON), NOT_JSON, 400),
    "signed, empty": (headers(b""), b"", 400),
    "signed, a list": (headers(b"[]"), b"[]", 400),
    "signed, without an id": (headers(NO_ID), NO_ID, 400),
    "signed, with a number for an id": (
        headers(BODY.replace(b'"e1"', b"1")),
        BODY.replace(b'"e1"', b"1"),
        400,
    ),
    "signed, not UTF-8": (headers(b'{"a":"\xff"}'), b'{"a":"\xff"}', 400),
    "signed, nested a hundred thousand deep": (headers(b"[" * 100_000), b"[" * 100_000, 400),
}


def test_there_are_forty_hostile_vectors() -> None:
    """The table below is as long as was asked for."""
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_delivery_is_refused(name: str) -> None:
    """Each hostile delivery has its status, and nothing of it is handled."""
    named, body, status = HOSTILE[name]
    to = receiver()
    seen: list[Event] = []
    to.on("*")(seen.append)
    assert await delivered(to, named, body) == status
    await to.aclose()
    assert seen == []
    assert to.counts["accepted"] == 0
    assert sum(to.counts.values()) == 1


def mutated(octets: bytes, rng: random.Random) -> bytes:
    """The octets with one changed, added or taken away."""
    whole, at = bytearray(octets), rng.randrange(len(octets))
    how = rng.choice(["change", "insert", "delete"])
    whole[at : at + (how != "insert")] = b"" if how == "delete" else rng.randbytes(1)
    return bytes(whole)


def test_no_mutation_is_accepted() -> None:
    """Ten thousand random mutations of a genuine delivery are all refused."""
    verifier, rng = Verifier([public(KEY)]), random.Random(5)
    genuine = {"body": BODY, **{name: value.encode() for name, value in headers()}}
    n_refused = 0
    while n_refused < 10_000:
        part = rng.choice(list(genuine))
        parts = genuine | {part: mutated(genuine[part], rng)}
        if parts == genuine:
            continue
        pairs = [(SIGNATURE.encode(), parts[SIGNATURE]), (TIMESTAMP.encode(), parts[TIMESTAMP])]
        with pytest.raises(SignatureError):
            verifier.verify(pairs, parts["body"], NOW)
        n_refused += 1
