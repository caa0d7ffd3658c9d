"""TLS on the port: calls over it, a certificate that changes, and who comes without."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.errors import ConfigurationError
from mediaserver.server.sockets import tls
from mediaserver.settings import Settings
from tests.server.conftest import Serving
from tests.server.sockets import certificates

FRAME = b"\xff" * 160


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A certificate, which clients of this process trust, and its key."""
    cert, key = certificates.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    return cert, key


def tls_settings(pair: tuple[Path, Path]) -> dict[str, str]:
    return {"tls_cert": str(pair[0]), "tls_key": str(pair[1])}


async def served_name(server: MediaServer) -> bytes:
    """The certificate that a new connection is shown, in DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", server.service.port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return bytes(shown)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_call_over_tls_is_whole(
    serving: Serving, pair: tuple[Path, Path], workers: int
) -> None:
    """Every frame comes back, from this process, and from a worker by way of this one."""
    async with serving("echo", workers=workers, **tls_settings(pair)) as server:
        assert server.url.startswith("wss://")
        reports = await asyncio.gather(
            *(place_call(server.url, CallPlan(seconds=1.0, linger_s=20.0)) for _ in range(4))
        )
        for report in reports:
            assert report.error is None
            assert report.close_code == 1000
            assert report.lost == 0


async def test_a_new_certificate_cuts_no_call(
    serving: Serving,
    pair: tuple[Path, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New connections get the new one; a pair that does not fit is said, and not used."""
    monkeypatch.setattr(tls, "LOOK_EVERY_S", 0.1)
    cert, key = pair
    other_cert, other_key = certificates.make(tmp_path, "other")
    async with serving("echo", **tls_settings(pair)) as server:
        async with FakeCall.connect(server.url, CallPlan()) as call:
            await call.send_payload(FRAME)
            await call.wait_until(lambda: bool(call.received))
            before = await served_name(server)
            other_cert.replace(cert)  # without its key, so far
            async with asyncio.timeout(60):
                while "the new certificate is not used" not in caplog.text:  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.05)
            assert await served_name(server) == before
            other_key.replace(key)
            async with asyncio.timeout(60):
                while await served_name(server) == before:  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.05)
            n = len(call.received)
            await call.send_payload(FRAME)
            await call.wait_until(lambda: len(call.received) > n)
        assert call.record.close_code == 1000


async def test_a_plain_request_is_told(
    serving: Serving, pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It gets 400 and one clear line, the log another one."""
    async with serving("echo", **tls_settings(pair)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.service.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 30)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"use wss://" in answer
        writer.close()
        assert server.service.counters["bad_request.plain_on_tls"] == 1
    assert "a plain request on the TLS port" in caplog.text


async def test_tls_on_the_plain_port_is_one_line(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what to do about it."""
    async with serving("echo") as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await served_name(server)
        assert server.service.counters["bad_request.tls"] == 1
    assert "TLS on the plain port: set tls_cert" in caplog.text


async def test_who_does_not_shake_hands_holds_nobody_up(
    serving: Serving, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent ones, and ones in the middle of a handshake, go after their time; calls go on."""
    monkeypatch.setattr(tls, "HEAD_WITHIN_S", 1.0)
    async with serving("echo", **tls_settings(pair)) as server:
        address = "127.0.0.1", server.service.port
        begun = [await asyncio.open_connection(*address) for _ in range(40)]
        for _, writer in begun[:20]:
            writer.write(b"\x16\x03\x01")
        report = await place_call(server.url, CallPlan(seconds=0.2, linger_s=20.0))
        assert report.error is None
        for reader, writer in begun:
            assert await asyncio.wait_for(reader.read(), 30) == b""
            writer.close()


class Doorman:
    """Lets nobody wait."""

    def __init__(self) -> None:
        self.n_waiting = 0

    def waits(self, connection: tls.Knock) -> None:
        self.n_waiting += 1
        connection.abort()

    def waits_no_more(self, connection: tls.Knock) -> None:
        self.n_waiting -= 1


async def test_one_that_must_go_at_once_is_closed(pair: tuple[Path, Path]) -> None:
    """Also before anything was read of it."""
    context = tls.Certificate(*map(str, pair)).context
    here, there = socket.socketpair()
    here.setblocking(False)
    doorman: Any = Doorman()
    tls.Knock(doorman, lambda _: pytest.fail("no protocol"), context, here, is_late=False)
    for _ in range(5):
        await asyncio.sleep(0)
    assert here.fileno() == -1
    assert doorman.n_waiting == 0
    there.close()


async def test_rubbish_in_a_handshake_is_counted(serving: Serving, pair: tuple[Path, Path]) -> None:
    """It begins like one, and goes on like none."""
    async with serving("echo", **tls_settings(pair)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.service.port)
        writer.write(b"\x16\x03\x01\x00\x05hello" + os.urandom(64))
        await asyncio.wait_for(reader.read(), 30)
        writer.close()
        async with asyncio.timeout(30):
            while not server.service.counters["bad_request.tls_handshake"]:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.02)


async def test_old_versions_are_refused(serving: Serving, pair: tuple[Path, Path]) -> None:
    """TLS 1.1 and weak ciphers get no handshake."""
    async with serving("echo", **tls_settings(pair)) as server:
        weak = ssl.create_default_context()
        weak.check_hostname, weak.verify_mode = False, ssl.CERT_NONE
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", server.service.port, ssl=weak)


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("cert.pem", None, "go together"),
        ("no-such.pem", "cert.key", "no-such.pem"),
        ("cert.key", "cert.key", "PEM"),
        ("cert.pem", "other.key", "MISMATCH"),
    ],
)
async def test_what_is_wrong_with_the_files_is_said(
    tmp_path: Path, cert: str, key: str | None, said: str
) -> None:
    """One line that names it."""
    certificates.make(tmp_path)
    certificates.make(tmp_path, "other")
    given = Settings(
        port=0, tls_cert=str(tmp_path / cert), tls_key=None if key is None else str(tmp_path / key)
    )
    with pytest.raises(ConfigurationError, match=said):
        async with MediaServer(given):
            pass


def test_its_ciphers_are_the_ones_of_the_guideline(tmp_path: Path) -> None:
    """Those that this OpenSSL offers beside those of TLS 1.3 are the six with ECDHE."""
    cert, key = certificates.make(tmp_path)
    context = tls.Certificate(str(cert), str(key)).context
    offered = {c["name"] for c in context.get_ciphers() if c["protocol"] == "TLSv1.2"}
    assert offered == set(tls.CIPHERS.split(":"))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
