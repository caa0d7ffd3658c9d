"""Starts the server that is measured, and finds out whose code it runs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.parts.command import Failed

READY_S = 10.0
PACKAGES = ("mediaserver", "telephony_codecs")
_WHERE = f"""
import json, platform
from importlib.util import find_spec
found = [find_spec(name) for name in {PACKAGES!r}]
print(json.dumps([platform.python_version(), *(spec.origin if spec else "" for spec in found)]))
"""

Found = TypeVar("Found")


class Launch(NamedTuple):
    """How to start a process: its command, and what differs from this process."""

    command: list[str]
    environment: Mapping[str, str] = {}
    folder: Path | None = None


@contextlib.contextmanager
def serving(
    title: str, launch: Launch, ready: Callable[[str], Found | None]
) -> Iterator[tuple[int, Found]]:
    """A fresh server's process id, and what ``ready`` found; the server is ended on leaving.

    ``ready`` is called with what the server has printed so far, until it returns something.

    Raises:
        Failed: it returned nothing within ``READY_S``, or the server ended or cannot be started.
    """
    environment = {**os.environ, **launch.environment}
    # A file, not a pipe: nobody reads while the server runs, and a full pipe would stop it.
    with tempfile.TemporaryFile("w+") as log:
        try:
            server = subprocess.Popen(
                launch.command, stdout=log, stderr=log, env=environment, cwd=launch.folder
            )
        except OSError as error:
            raise Failed(f"{title} cannot be started: {error}") from error
        try:
            deadline = time.monotonic() + READY_S
            while (found := ready(_text(log.fileno()))) is None:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise Failed(
                        f"{title} was not ready within {READY_S:.0f} s"
                        f" (exit code {server.poll()}): {_text(log.fileno())[-500:].strip()}"
                    )
                time.sleep(0.05)
            yield server.pid, found
        finally:
            server.kill()
            server.wait()


def _text(file: int) -> str:
    # Without moving the position, at which the server writes.
    return os.pread(file, 1 << 20, 0).decode(errors="replace")


def free_port() -> int:
    """A port of the loopback nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool | None:
    """True, or None if nobody takes connections there."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return None


def of_checkout(folder: Path) -> dict[str, str]:
    """The environment in which a process uses the code of the checkout in ``folder``.

    It counts before the interpreter's own packages, so that one environment can run several
    checkouts.
    """
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(folder / "codecs")])}


def absolute(text: str) -> Path:
    """The path ``text``, not bound to the current folder; links stay, as environments need them."""
    return Path(text).absolute()


def python_of(python: Path, folder: Path) -> str:
    """The version of the interpreter ``python``, if it takes all our code from ``folder``.

    Raises:
        Failed: there is no such interpreter, or it takes some of the code from elsewhere.
    """
    environment = {**os.environ, **of_checkout(folder)}
    command = [str(python), "-c", _WHERE]
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"{python} does not run in {folder}: {error}") from error
    version, *origins = json.loads(done.stdout)
    for name, origin in zip(PACKAGES, origins, strict=True):
        if not Path(origin).resolve().is_relative_to(folder.resolve()):
            raise Failed(f"{name} is not in {folder}, but {origin or 'nowhere'}")
    return str(version)
