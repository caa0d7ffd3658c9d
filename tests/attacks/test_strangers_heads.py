"""Requests that two readers could read in two ways, what is no HTTP, and foreign web pages."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mediaserver.carrier import CallPlan, place_call
from tests.attacks.strangers import UPGRADE, Crowd
from tests.server.conftest import Serving, serving

__all__ = ["serving"]

GET = b"GET /healthz HTTP/1.1\r\nHost: h\r\n"
POST = b"POST /healthz HTTP/1.1\r\nHost: h\r\n"
NO_HOST = UPGRADE.replace(b"Host: h\r\n", b"")

# What comes, the answer's status (0: none), and what it is counted as.
BAD: dict[str, tuple[bytes, int, str]] = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80), 0, "tls"),
    "one octet of TLS": (b"\x16", 0, "tls"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), 505, "http2"),
    "PROXY 1": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET + b"\r\n", 400, "proxy_protocol"),
    "PROXY 2": (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12), 400, "proxy_protocol"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400, "request_line"),
    "noise": (b"\x00\x01\x02", 400, "not_http"),
    "empty line": (b"\r\n\r\n", 400, "request_line"),
    "no host": (NO_HOST + b"\r\n", 400, "host"),
    "no host, plain": (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "host"),
    "two hosts": (UPGRADE + b"Host: i\r\n\r\n", 400, "host"),
    "two hosts, plain": (GET + b"host: h\r\n\r\n", 400, "host"),
    "host of two": (NO_HOST + b"Host: h, i\r\n\r\n", 400, "host"),
    "body": (UPGRADE + b"Content-Length: 5\r\n\r\nhello", 400, "body"),
    "chunked body": (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "body"),
    "TE and CL": (
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "framing",
    ),
    "TE and CL, upgrade": (
        UPGRADE + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "framing",
    ),
    "two lengths": (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n1234", 400, "framing"),
    "signed length": (POST + b"Content-Length: +4\r\n\r\n1234", 400, "framing"),
    "other coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 400, "framing"),
    "obs-fold": (UPGRADE + b"X: a\r\n b\r\n\r\n", 400, "obs_fold"),
    "obs-fold, tab": (UPGRADE + b"X: a\r\n\tb\r\n\r\n", 400, "obs_fold"),
    "NUL": (UPGRADE + b"X: a\x00b\r\n\r\n", 400, "octets"),
    "NUL in the target": (UPGRADE.replace(b"/media", b"/me\x00dia") + b"\r\n", 400, "octets"),
    "bare LF": (UPGRADE + b"X: a\nHost: i\r\n\r\n", 400, "octets"),
    "bare CR": (UPGRADE + b"X: a\rb\r\n\r\n", 400, "octets"),
    "space before colon": (UPGRADE + b"X : a\r\n\r\n", 400, "field"),
    "no colon": (UPGRADE + b"X\r\n\r\n", 400, "field"),
    "absolute target": (UPGRADE.replace(b"/media", b"http://i/media") + b"\r\n", 400, "target"),
    "two slashes": (UPGRADE.replace(b"/media", b"//i/media") + b"\r\n", 400, "target"),
    "fragment": (UPGRADE.replace(b"/media", b"/media#x") + b"\r\n", 400, "target"),
    "CONNECT": (b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "target"),
    "two spaces": (UPGRADE.replace(b"GET ", b"GET  ") + b"\r\n", 400, "request_line"),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", 400, "request_line"),
    "HTTP/3.0": (UPGRADE.replace(b"1.1", b"3.0", 1) + b"\r\n", 505, "version"),
    "long line": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, "too_long"),
    "long field": (UPGRADE + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431, "too_long"),
    "many fields": (UPGRADE + b"X: a\r\n" * 120 + b"\r\n", 431, "too_long"),
    "long head": (UPGRADE + (b"X: " + b"a" * 1000 + b"\r\n") * 20, 431, "too_long"),
}
# What WebSocket asks for, and gets wrong here: refused by who shakes hands.
WRONG_UPGRADES = {
    "HTTP/1.0": (UPGRADE.replace(b"1.1", b"1.0", 1), 505),
    "POST": (UPGRADE.replace(b"GET", b"POST"), 405),
    "two keys": (UPGRADE + b"Sec-WebSocket-Key: BBBBBBBBBBBBBBBBBBBBBB==\r\n", 400),
    "two versions": (UPGRADE + b"Sec-WebSocket-Version: 13\r\n", 400),
    "two upgrades": (UPGRADE + b"Upgrade: websocket\r\n", 426),
    "no Connection": (UPGRADE.replace(b"Connection: Upgrade\r\n", b""), 426),
    "version 8": (UPGRADE.replace(b"13", b"8"), 400),
    "short key": (UPGRADE.replace(b"AAAA", b"", 1), 400),
}


async def told(port: int, octets: bytes) -> bytes:
    """What a connection that sends these octets is told, to its end."""
    with Crowd(port) as one:
        await asyncio.to_thread(one.come, 1, octets)
        return await asyncio.to_thread(one.heard)


async def test_bad_heads_are_refused_with_a_reason(serving: Serving) -> None:
    """Each gets its status and a sentence, and is counted by its kind."""
    async with serving("echo") as server:
        for name, (octets, status, kind) in BAD.items():
            before = server.service.counters[f"bad_request.{kind}"]
            answer = await told(server.service.port, octets)
            assert server.service.counters[f"bad_request.{kind}"] == before + 1, name
            assert answer.startswith(b"HTTP/1.1 %d " % status if status else b""), name
            head, _, reason = answer.partition(b"\r\n\r\n")
            assert bool(reason.strip()) is bool(status), name
            assert (b"Connection: close" in head) is bool(status), name
        for name, (head, status) in WRONG_UPGRADES.items():
            answer = await told(server.service.port, head + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 %d " % status), name
            assert answer.partition(b"\r\n\r\n")[2].strip(), name
        assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None


async def test_bad_requests_behind_good_ones_are_refused(serving: Serving) -> None:
    """What is smuggled in behind a first request of the same connection fares no better."""
    behind = {
        "TE and CL": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "two hosts": GET + b"Host: i\r\n\r\n",
    }
    async with serving("echo") as server:
        for name, octets in behind.items():
            answer = await told(server.service.port, GET + b"\r\n" + octets)
            assert answer.startswith(b"HTTP/1.1 200 "), name
            assert answer.count(b"HTTP/1.1 400 ") == 1, name


async def test_a_head_that_never_ends_is_told_so(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a head: 408 at its deadline; lines that end in LF alone are half a head for ever."""
    monkeypatch.setattr("mediaserver.server.sockets.first_bytes.HEAD_WITHIN_S", 0.2)
    async with serving("echo") as server:
        for octets in (GET, GET.replace(b"\r\n", b"\n") + b"\n"):
            assert (await told(server.service.port, octets)).startswith(b"HTTP/1.1 408 ")
        assert await told(server.service.port, b"") == b""
        assert server.service.counters["bad_request.too_slow"] == 2


async def test_what_a_proxy_does_wrong_is_said_once(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """TLS on the plain port, ten times: one line."""
    with caplog.at_level(logging.INFO, "mediaserver.server"):
        async with serving("echo") as server:
            for _ in range(10):
                await told(server.service.port, BAD["TLS"][0])
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "127.0.0.1" in line
    assert "TLS on the plain port" in line


@pytest.mark.parametrize(
    ("origins", "status"),
    [
        ([], 101),
        (["https://app.example.com"], 101),
        (["HTTPS://APP.example.com"], 101),
        (["https://evil.example"], 403),
        (["http://app.example.com"], 403),
        (["https://app.example.com.evil.example"], 403),
        (["https://app.example.com:444"], 403),
        (["null"], 403),
        ([""], 403),
        (["https://app.example.com", "https://evil.example"], 400),
    ],
)
async def test_foreign_origins_are_refused(
    serving: Serving, origins: list[str], status: int
) -> None:
    """A web page may connect only where it is allowed; what is no browser has no origin."""
    fields = b"".join(b"Origin: %b\r\n" % each.encode() for each in origins)
    async with serving("echo", allowed_origins=("https://app.example.com",)) as server:
        with Crowd(server.service.port) as one:
            await asyncio.to_thread(one.come, 1, UPGRADE + fields + b"\r\n")
            one.sockets[0].settimeout(10)
            first = await asyncio.to_thread(one.sockets[0].recv, 4096)
            assert first.startswith(b"HTTP/1.1 %d " % status)
        assert server.service.counters["refused_origin"] == (status == 403)
