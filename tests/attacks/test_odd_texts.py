"""Odd texts in every field from outside: no file elsewhere, no forged line, no long line."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mediaserver.control.errors import ApiError, Problem
from mediaserver.logs import shown
from mediaserver.observer import CallSummary
from tests.attacks.attacking import SPOKEN, wait_until
from tests.server.rawclient import CLOSE, CONNECTED, RawCall, Server, frame, serving, text

pytestmark = pytest.mark.xdist_group("attacks")  # they share a server

LINE = re.compile(
    r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR)"
    r" (mediaserver\.|uvicorn\.error: )"
)
FORGED = "2026-11-28 12:00:00,000 ERROR mediaserver.forged: all is lost"
ODD = {
    "newline": f"a\n{FORGED}",
    "carriage return": f"a\r{FORGED}",
    "line separator": f"a\u2028{FORGED}",
    "next line": f"a\x85{FORGED}",
    "vertical tab": f"a\x0b{FORGED}",
    "escape": "a\x1b[2J\x1b]0;title\x07",
    "NUL": "a\0b",
    "traversal": "../../../../tmp/outside",
    "absolute": "/tmp/outside",
    "backslashes": "..\\..\\outside",
    "dots": "..",
    "slash": "/",
    "device": "CON",
    "empty": "",
    "space": " ",
    "right to left": "a\u202egnp.exe",
    "astral": "\U0001f600" * 100,
    "percent": "%s%s%n%(name)s{0}{name}",
    "512 characters": "A" * 512,
    "513 characters": "A" * 513,
    "100,000 characters": "A" * 100_000,
    "30,000 newlines": "\n" * 30_000,
}
FIELDS = ("call_control_id", "call_session_id", "user_id", "from", "to", "client_state", "tags")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd") / "recordings"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    processor = f"record?directory={folder}"
    arguments = ("--processor", processor, "--processor", "echo", "--log-level", "debug")
    with serving(folder.parent / "server.log", *arguments) as running:
        yield running
    assert {path.name for path in folder.parent.iterdir()} == {"recordings", "server.log"}
    for path in folder.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}\.(wav|json)", path.name), path


def check_log(server: Server) -> None:
    """Each line begins as the server's do, and none is longer than 1 KiB."""
    first, *lines = server.log.read_bytes().split(b"\n")
    assert first.startswith(b"mediaserver ready on ")
    for line in lines:
        assert len(line) <= 1024
        shown_line = line.decode()
        assert not line or LINE.match(shown_line), shown_line
        assert len(shown_line.splitlines()) <= 1
        assert "mediaserver.forged" not in shown_line.split(": ", 1)[0]


def odd_start(call: RawCall, odd: str, fields: tuple[str, ...]) -> dict[str, Any]:
    """The call's ``start`` with odd texts in these fields."""
    message = call.start()
    for field in fields:
        if field == "stream_id":
            message["stream_id"] = odd
        elif field == "encoding":
            message["start"]["media_format"]["encoding"] = odd
        elif field == "custom_parameters":
            message["start"]["custom_parameters"] = {odd: odd, "processor": odd}
        else:
            message["start"][field] = [odd] if field == "tags" else odd
    return message


@pytest.mark.parametrize("name", ODD)
def test_odd_ids(server: Server, name: str) -> None:
    """A call whose ids are odd is served, or refused; its lines and files are like any other's."""
    odd = ODD[name]
    n_ended = server.log.read_text().count(" ended: ")
    for fields in (("call_control_id",), (*FIELDS, "stream_id"), ("encoding",)):
        _hold(server, odd, fields)
    _hold(server, odd, ("custom_parameters",))
    if len(odd) < 30_000:  # else the message is refused, and no call begins
        wait_until(lambda: server.log.read_text().count(" ended: ") > n_ended)
    check_log(server)


def _hold(server: Server, odd: str, fields: tuple[str, ...]) -> None:
    with RawCall(server.port) as call:
        call.send(CONNECTED)
        message = odd_start(call, odd, fields)
        call.send(text(message))
        call.stream_id = message["stream_id"] or call.stream_id
        media = call.media(SPOKEN)
        del media["stream_id"]
        call.send(text(media))
        for event in (
            {"event": "mark", "mark": {"name": odd}},
            {"event": "dtmf", "dtmf": {"digit": odd[:8] or "1"}, "occurred_at": odd},
            {"event": "error", "error": {"code": odd, "title": odd, "detail": odd}},
            {"event": "error", "error": {"code": "100005", "title": odd, "detail": odd}},
            {"event": odd},
            {"event": "dtmf", "dtmf": {"digit": "1"}, "stream_id": odd},
        ):
            call.send(text(event))
        call.send(text({"event": "stop", "stop": {"call_control_id": odd}}))
        call.send(frame(CLOSE, (1000).to_bytes(2, "big")))  # where it was refused or left out
        call.close_code()


def test_odd_heads(server: Server) -> None:
    """Paths, queries and headers of requests are not logged as they came either."""
    for path in (
        b"/media?token=%0A" + b"A" * 3000,
        b"/%2e%2e/%0a",
        b"/media/%0d%0aERROR",
        b"/\x85",
    ):
        with socket.create_connection(("127.0.0.1", server.port), 10) as peer:
            peer.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: a\x0bb\r\nX: \x1b[2J\r\n\r\n")
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65536):
                pass
    check_log(server)


@pytest.mark.parametrize("name", ODD)
def test_shown_is_one_short_line(name: str) -> None:
    """Nothing that ends a line or steers a terminal, and at most 1 KiB of it."""
    line = shown(ODD[name])
    assert line.isprintable()
    assert len(line.encode()) < 1024
    assert len(shown(ODD[name], 400).encode()) < 2048


def test_plain_ids_are_shown_as_they_are() -> None:
    """Telnyx' own, numbers, and names in other alphabets."""
    for plain in ("v3:MdI91X4lWFEs7IgbBEOT9M4AigoY08M0WWZFISt1Yw2axZ_IiE4pqg", "Zoë", "+1312", "č"):
        assert shown(plain) == plain
    assert shown(None) == "None"
    assert shown("a" * 129) == "a" * 128 + "… (129 characters)"


@pytest.mark.parametrize("name", ODD)
def test_errors_of_telnyx_and_summaries(name: str) -> None:
    """They are logged by whoever gets them: on one line, too."""
    odd = ODD[name]
    error = ApiError(422, (Problem(odd, odd, odd, odd),), request_id=odd)
    summary = CallSummary(call_id=odd, reason="stop", caller=odd, callee=odd)
    for line in (str(error), summary.line()):
        assert line.isprintable()
        assert len(line.encode()) < 4096
