"""What needs no Ray of the actors: the texts, and the question to a silent node's server."""

from __future__ import annotations

import asyncio

from mediaserver.app import MediaServer
from mediaserver.cluster.actors.asking import Status, lines_of
from mediaserver.cluster.actors.call_directory import probe, wanted_of
from mediaserver.cluster.messages import Node
from mediaserver.settings import Settings
from tests.ports import free_port

NODES = (
    Node(name="a", public_url="https://a", capacity=50, n_calls=40, zone="eu", labels=("gpu",)),
    Node(name="b", public_url="https://b", capacity=100, n_calls=30, draining=True),
    Node(name="c", public_url="https://c", capacity=0, suspected=True),
)


def test_status_says_how_many_nodes_are_wanted() -> None:
    """By the capacity of the smallest that has any."""
    calls = {f"call {n}": ("a", 1) for n in range(70)}
    assert lines_of(Status(NODES, calls, 2, {}), buffer=40) == [
        "node               calls  state      zone  labels",
        "a               40 of 50  ready      eu    gpu",
        "b              30 of 100  draining",
        "c                 0 of 0  suspected",
        "70 calls, 2 of them move; nodes wanted: 3",
    ]
    assert wanted_of(()) == 0


async def test_a_probe_tells_a_server_that_answers_from_one_that_is_gone() -> None:
    """And from one that takes the connection and says nothing, as one that stands still."""
    async with MediaServer(Settings(port=0)) as server:
        assert await probe(f"http://127.0.0.1:{server.service.port}") == "answers"
    assert await probe(f"http://127.0.0.1:{free_port()}") == "refused"
    open_: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: open_.append(writer), "127.0.0.1")
    port = silent.sockets[0].getsockname()[1]
    assert await probe(f"http://127.0.0.1:{port}/prefix") == "silent"
    for writer in open_:
        writer.close()
    silent.close()
    assert await probe("http://no-such-host.invalid") == "silent"
