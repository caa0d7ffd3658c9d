"""Keeps a node's actors running; a process apart from the media server, which may die any time.

python -m mediaserver.cluster.actors.joining NODE SOCKET ADDRESS
"""

from __future__ import annotations

import sys
import time

from mediaserver.cluster.actors import engine
from mediaserver.cluster.actors.agent import NodeAgent
from mediaserver.cluster.actors.call_directory import CallDirectory
from mediaserver.errors import ConfigurationError

LOOK_S = 1.0


def join(node: str, path: str, address: str) -> None:
    """Have the directory and the node's agent made, and look whether they are there."""
    engine.connect(address)
    on_head = {"resources": {engine.HEAD: engine.SLIVER}, "max_concurrency": 1000}
    own = {engine.RESOURCE: engine.SLIVER, engine.resource_of(node): engine.SLIVER}
    while True:
        engine.made(CallDirectory, engine.DIRECTORY, on_head)
        engine.made(NodeAgent, engine.agent_name(node), {"resources": own}, node, path)
        time.sleep(LOOK_S)


def main() -> int:
    """Join until Ray is gone; exit code 1."""
    try:
        join(*sys.argv[1:4])
    except (engine.UnavailableError, ConfigurationError) as exc:
        print(f"mediaserver: {exc}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
