"""What the generator finds of servers that are no good echo, over real sockets."""

from __future__ import annotations

import base64
import http
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from mediaserver.bench import capacity
from mediaserver.bench.figures import Load, Rung
from mediaserver.bench.fleet import Fleet

Answer = Callable[[int, bytes], list[bytes]]
"""The replies to the n-th payload."""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """One process, for all."""
    with Fleet(1) as fleet:
        yield fleet


@contextmanager
def echo(answer: Answer, status: int | None = None) -> Iterator[str]:
    """A server that answers so; the URL."""

    def call(connection: ServerConnection) -> None:
        n = 0
        try:
            for text in connection:
                message = json.loads(text)
                if message["event"] != "media":
                    continue
                n += 1
                for payload in answer(n, base64.b64decode(message["media"]["payload"])):
                    body = {
                        "event": "media",
                        "media": {"payload": base64.b64encode(payload).decode()},
                    }
                    connection.send(json.dumps(body))
        except ConnectionClosed:
            return
        except EOFError:
            connection.close(1011)

    def refuse(connection: ServerConnection, _: Request) -> Response | None:
        return connection.respond(http.HTTPStatus(status), "no") if status else None

    with serve(call, "127.0.0.1", 0, compression=None, process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/media"
        finally:
            server.shutdown()
            thread.join(10)


def found(fleet: Fleet, answer: Answer, codec: str = "PCMU", status: int | None = None) -> Rung:
    with echo(answer, status) as url:
        load = Load(url=url, mix=(codec,), seconds=0.6, warmup_s=0.1)
        return capacity.rung(fleet, load, 2, None)


def test_replies_may_be_cut_as_a_server_likes(fleet: Fleet) -> None:
    """What counts is the audio."""
    rung = found(fleet, lambda n, audio: [audio[: n % 100 + 1], audio[n % 100 + 1 :]])
    assert (rung.outcome, rung.why, rung.lost, rung.wrong) == ("good", [], 0, 0)
    assert rung.sent == rung.returned
    assert 50 <= rung.sent <= 62


@pytest.mark.parametrize("codec", ["PCMU", "G722"])
def test_a_frame_that_does_not_come_back_is_lost(fleet: Fleet, codec: str) -> None:
    """All others are still known, also where octets say nothing."""
    rung = found(fleet, lambda n, audio: [] if n == 15 else [audio], codec)
    assert rung.lost == 2
    assert "2 of" in rung.why[0]
    assert rung.outcome in ("failed", "unknown")


def test_octets_that_nobody_sent_are_wrong(fleet: Fleet) -> None:
    """The frame they stand for is lost; those behind it are known again."""
    rung = found(fleet, lambda n, audio: [bytes(len(audio)) if n == 15 else audio])
    assert rung.outcome != "good"
    assert 1 <= rung.lost <= 4
    assert rung.returned > 40


def test_more_audio_than_was_sent_is_wrong(fleet: Fleet) -> None:
    """In each kind of codec."""
    for codec in ("PCMU", "G722"):
        rung = found(fleet, lambda _, audio: [audio, audio], codec)
        assert rung.wrong > 0, codec


def test_other_speech_of_the_right_length_is_found(fleet: Fleet) -> None:
    """In a lossy codec one call is compared by its sound."""
    rung = found(fleet, lambda _, audio: [audio[::-1]], "G722")
    assert any("not what was said" in problem for problem in rung.problems)


def test_a_call_that_is_cut_is_a_problem(fleet: Fleet) -> None:
    """It says how it ended."""

    def end(n: int, audio: bytes) -> list[bytes]:
        if n == 20:
            raise EOFError
        return [audio]

    assert found(fleet, end).problems == {"the server closed with 1011": 2}


def test_a_call_that_is_not_taken_is_refused(fleet: Fleet) -> None:
    """503 is an answer of a server with too much to do; another status is a problem."""
    rung = found(fleet, lambda _, audio: [audio], status=503)
    assert (rung.refused, rung.n_up) == (2, 0)
    assert found(fleet, lambda _, audio: [audio], status=404).problems
    assert not found(fleet, lambda _, audio: [audio], status=404).refused


def test_nobody_there(fleet: Fleet) -> None:
    """It is said, and nothing hangs."""
    with echo(lambda _, audio: [audio]) as url:
        pass
    rung = capacity.rung(fleet, Load(url=url, seconds=0.2, warmup_s=0), 1, None)
    assert any("no connection" in problem for problem in rung.problems)
    assert rung.outcome != "good"


def test_a_late_generator_gives_no_verdict() -> None:
    """Neither where it is late, nor where it has no CPU time left."""
    assert capacity.too_slow(1.0, 0.5) == []
    assert "late" in capacity.too_slow(6.0, 0.5)[0]
    assert "core" in capacity.too_slow(1.0, 0.95)[0]
