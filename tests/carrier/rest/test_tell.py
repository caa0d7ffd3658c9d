"""The fake says what it does, in lines without secrets; webhooks go to https as well."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.tell import line, request_line, shown_url
from tests.ports import free_port

from .raw import DIAL, raw

CANARY = "canary-of-the-lines"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, ``ca.pem``, and a server's certificate by it for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates with")
    folder = tmp_path_factory.mktemp("authority")
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    # All that Python 3.13 looks at from the start on.
    (folder / "server.cnf").write_text(
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=critical,CA:FALSE\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
    )
    for command in (
        f"{new} -keyout ca.key -out ca.pem -subj /CN=authority"
        " -addext keyUsage=critical,keyCertSign,cRLSign",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key"
        " -out server.csr -subj /CN=server",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
        " -extfile server.cnf -out server.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@asynccontextmanager
async def receiver(authority: Path) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The https URL of something that takes every POST, and what it took."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(authority / "server.pem", authority / "server.key")
    took: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        n_octets = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        took.append(await reader.readexactly(n_octets))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"https://127.0.0.1:{port}/hook?token={CANARY}", took


async def told_of_a_call(url: str, **settings: Any) -> list[str]:
    """What is said of the first webhook of a call that comes in."""
    lines: list[str] = []
    async with FakeTelnyx(webhook_url=url, tell=lines.append, **settings) as fake:
        fake.ring()
        await fake.webhooks.flush(20)
    assert CANARY not in "".join(lines)
    return lines


async def test_an_authority_of_the_users_own_is_trusted(authority: Path) -> None:
    """With its file a webhook arrives over TLS, and a line says so."""
    async with receiver(authority) as (url, took):
        lines = await told_of_a_call(url, webhook_ca=authority / "ca.pem")
    assert b"call.initiated" in took[0]
    shown = url.split("/hook")[0]
    assert lines[0] == f"webhook call.initiated to {shown} → 200"


async def test_the_environments_authority_is_trusted(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SSL_CERT_FILE`` does the same."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    async with receiver(authority) as (url, took):
        lines = await told_of_a_call(url)
    assert took
    assert lines[0].endswith("→ 200")


async def test_an_unknown_authority_is_named(authority: Path) -> None:
    """Nothing is delivered to a stranger, and the line names the cure."""
    async with receiver(authority) as (url, took):
        lines = await told_of_a_call(url)
    assert not took
    assert "→ no answer: " in lines[0]
    assert "--webhook-ca or SSL_CERT_FILE" in lines[0]
    assert lines[2].endswith(", given up")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:{port}/x?token=" + CANARY, "→ no answer: "),
        ("http://[::bad/" + CANARY, "an unreadable URL → no answer: "),
        ("ftp://127.0.0.1/" + CANARY, "ftp://127.0.0.1 → no answer: "),
        (CANARY, "→ no answer: "),
    ],
)
async def test_a_webhook_that_cannot_be_delivered_is_told(url: str, says: str) -> None:
    """Each attempt is a line, the last one given up, and a call goes on without."""
    lines = await told_of_a_call(url.format(port=free_port()))
    assert says in lines[0]
    assert ", attempt 3 → no answer: " in lines[2]
    assert lines[2].endswith(", given up")


async def test_requests_streams_and_webhooks_are_told() -> None:
    """A call from dial to hang-up, its refusals among it; no key, token or text of the user's."""
    lines: list[str] = []
    async with raw(habits=Habits(answer_after_s=0.0), tell=lines.append) as r:
        call = await r.dial()
        await r.until(lambda: r.fake.calls[call].state == "answered")
        secret = {"stream_auth_token": CANARY, "stream_url": f"{r.media_url}/{CANARY}?t={CANARY}"}
        await r.act(call, "streaming_start", stream_bidirectional_mode="rtp", **secret)
        await r.until(lambda: "start" in r.wire)
        await r.refused(call, "streaming_start", **secret)
        await r.refused(call, "speak", payload=CANARY)
        await r.act(call, "hangup")
        await r.until(lambda: "stop" in r.wire)
        await r.post("/calls", DIAL, key=CANARY)
        await r.post("/calls", DIAL | {"to": "notanumber"})
        await r.post("/calls", b"{")
        await r.post("/nothing", {})
    text = "\n".join(lines)
    host = r.media_url.split("/m")[0]
    actions = f"POST /v2/calls/{call}/actions"
    for said in (
        "POST /v2/calls from=+13122010094 to=+13122123456 → 200",
        f"{actions}/streaming_start stream_bidirectional_mode=rtp stream_url={host}",
        f"call {call}: streams to {host}",
        " → 422 90045 Streaming in use.",
        f"{actions}/speak → 422 10004 voice must be given",
        f"{actions}/hangup → 200",
        f"call {call}: its stream ended: ",
        "POST /v2/calls → 401 10009 Authentication failed.",
        "to=notanumber → 422 10016 to must be a number in +E.164 format",
        "POST /v2/calls → 422 10015 body must be an object",
        "POST /v2/nothing → 404 10005 Resource not found.",
        "webhook call.answered to http://127.0.0.1:",
    ):
        assert said in text, text
    assert CANARY not in text
    assert r.fake.api_key not in text


async def test_a_stream_that_cannot_connect_is_told() -> None:
    """The reason, without path and query of the URL."""
    lines: list[str] = []
    async with raw(habits=Habits(answer_after_s=0.0), tell=lines.append) as r:
        url = f"ws://127.0.0.1:{free_port()}/{CANARY}"
        call = await r.dial(stream_url=url)
        await r.until(lambda: any("failed: no connection" in each for each in lines))
    assert any(f"call {call}: its stream to {url[: -len(CANARY) - 1]} failed" in x for x in lines)
    assert CANARY not in "".join(lines)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"colour":"red"}', b'{"to":5}'])
async def test_a_ring_that_cannot_be_read_is_no_call(body: bytes) -> None:
    """422 with a reason, and a line; it was an error 500 without a word."""
    lines: list[str] = []
    async with FakeTelnyx(tell=lines.append) as fake, httpx.AsyncClient() as http:
        answer = await http.post(f"{fake.base_url.removesuffix('/v2')}/fake/ring", content=body)
        assert answer.status_code == 422
        assert not fake.calls
    assert "POST /fake/ring → 422 10015 " in lines[0] or "→ 422 10015 to must be text" in lines[0]


def test_a_line_is_one_line() -> None:
    """What a peer may write cannot break the line, nor fill the screen."""
    assert line("a\nb\x1b[31m") == "a?b?[31m"
    assert len(line("x" * 9999)) < 500
    said = request_line("POST", "/v2/calls\n", {"to": ["+1", "x\ny"]}, 200, b"")
    assert said == "POST /v2/calls? to=['+1', 'x\\ny'] → 200"
    assert request_line("GET", "/", None, 200, b"") == "GET / → 200"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://user:secret@h.example:9/a?b#c", "wss://h.example:9"),
        ("ws://[::1]:80/x", "ws://[::1]:80"),
        ("ws://h:99999/x", "an unreadable URL"),
        ("secret", "://"),
    ],
)
def test_of_a_url_only_scheme_host_and_port_are_shown(url: str, shown: str) -> None:
    """User, path, query and fragment may hold a token."""
    assert shown_url(url) == shown
