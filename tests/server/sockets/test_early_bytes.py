"""What comes together with the upgrade request, or right behind it, is not lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.rawclient import CONNECTED, RawCall, Server, serving, text

SPOKEN = [bytes([code]) * 160 for code in (0x10, 0x20, 0x30)]

# The same echo as the built-in, in the form of a handler: it runs in a task of its own.
HANDLER = """
from mediaserver import Call, processor

@processor
async def echo(call: Call) -> None:
    async for frame in call.frames():
        await call.play(frame.samples, rate=frame.rate)
"""


@pytest.fixture(scope="module", params=["built-in", "handler"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("early")
    (folder / "bot.py").write_text(HANDLER)
    name = "echo" if request.param == "built-in" else f"{folder / 'bot.py'}:echo"
    with serving(folder / "server.log", "--processor", name) as running:
        yield running


def everything(call: RawCall) -> bytes:
    """A call's beginning and its first 60 ms of audio."""
    return b"".join([CONNECTED, text(call.start()), *map(call.spoken, SPOKEN)])


def test_whole_call_behind_the_upgrade_request(server: Server) -> None:
    """Start and media in one segment with the upgrade request are all heard."""
    with RawCall(server.port, behind=everything) as call:
        assert call.heard(480) == b"".join(SPOKEN)


def test_whole_call_in_one_segment(server: Server) -> None:
    """Media in one segment with its start is all heard."""
    with RawCall(server.port) as call:
        call.send(everything(call))
        assert call.heard(480) == b"".join(SPOKEN)


@pytest.mark.parametrize("cut", [1, 2, 7, 8, 9, 100, 700])
def test_beginning_cut_anywhere(server: Server, cut: int) -> None:
    """A frame cut in two by the upgrade request's segment is put together again."""
    rest = b""

    def beginning(call: RawCall) -> bytes:
        nonlocal rest
        octets = everything(call)
        rest = octets[cut:]
        return octets[:cut]

    with RawCall(server.port, behind=beginning) as call:
        call.send(rest)
        assert call.heard(480) == b"".join(SPOKEN)
