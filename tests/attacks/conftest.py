"""One server for the attacks that need nothing special of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks import sourcebots
from tests.server.rawclient import Server, serving

SOURCE_BOT = f"{Path(sourcebots.__file__)}:odd_sources"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Echoes, and offers the bot of odd sources.

    Live audio that is late is not dropped: a busy machine would count as an attack that worked.
    """
    log = tmp_path_factory.mktemp("attacks") / "server.log"
    arguments = ("--processor", "echo", "--offer", SOURCE_BOT)
    with serving(log, *arguments, backlog_ms="30000", catch_up="false") as running:
        yield running
