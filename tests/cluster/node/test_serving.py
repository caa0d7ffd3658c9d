from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mediaserver.cluster.node.serving import Keeper, is_served, node_of, serve
from mediaserver.errors import ConfigurationError
from mediaserver.settings import Settings

WHOLE = Settings(api_key="k", auth_token="t", public_url="https://a.example.com", max_calls=7)

# Waits at the socket that it is given, in the place of a media server.
WAITS = (
    "import socket, sys, time; end = socket.socket(socket.AF_UNIX); end.bind(sys.argv[1]);"
    "end.listen(); time.sleep(60)"
)


@pytest.mark.parametrize("missing", ["api_key", "auth_token", "public_url"])
def test_a_node_says_what_it_needs(missing: str) -> None:
    """The key, the secret of the cluster, its own URL."""
    given = {"api_key": "k", "auth_token": "t", "public_url": "https://a.example.com"}
    del given[missing]
    with pytest.raises(ConfigurationError, match=f"needs {missing}"):
        node_of(Settings(**given), "a", "", ())  # type: ignore[arg-type]  # settings by name


def test_a_node_is_as_large_as_its_settings_say() -> None:
    node = node_of(WHOLE, "a", "eu", ["gpu"])
    assert (node.name, node.capacity, node.zone, node.labels) == ("a", 7, "eu", ("gpu",))


async def test_a_path_that_is_too_long_is_refused() -> None:
    """The system would cut it."""
    with pytest.raises(ConfigurationError, match="--socket may have"):
        await serve(WHOLE, node_of(WHOLE, "a", "", ()), "/tmp/" + 100 * "x", print)


def test_the_keeper_starts_a_server_that_outlives_it(tmp_path: Path) -> None:
    """One that runs is adopted; one that is gone is started again."""
    path = str(tmp_path / "s")
    assert not is_served(path)
    keeper = Keeper("a", path, "127.0.0.1:1", [sys.executable, "-c", WAITS, path])
    keeping = threading.Thread(target=keeper.look_after, daemon=True)
    keeping.start()
    try:
        first = served(path)
        os.kill(first, signal.SIGKILL)
        os.unlink(path)
        second = served(path)
        assert second != first
        assert os.getsid(second) == second
    finally:
        keeper.stop()
        keeping.join(20.0)
    assert not keeping.is_alive()
    assert is_served(path)
    os.kill(second, signal.SIGKILL)
    assert keeper._server is not None
    keeper._server.wait(20.0)


def served(path: str) -> int:
    """The process that waits at the socket, once one does."""
    ends_at = time.monotonic() + 20.0
    while not is_served(path):
        assert time.monotonic() < ends_at
        time.sleep(0.02)
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)
        credentials = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], sys.byteorder)


def test_joining_without_ray_ends_with_one_line() -> None:
    """The keeper tries again later."""
    ran = subprocess.run(
        [sys.executable, "-m", "mediaserver.cluster.actors.joining", "a", "no.sock", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("mediaserver: ")
