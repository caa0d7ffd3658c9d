"""Keeps a node's actors there: a process beside the media server, which may die at any time.

python -m mediaserver.cluster.joining NODE SOCKET ADDRESS
"""

from __future__ import annotations

import sys
import time

from mediaserver.cluster import engine

LOOK_S = 1.0


def join(node: str, path: str, address: str) -> None:
    """Have the directory and the node's agent made, and look whether they are there."""
    engine.connect(address)
    while True:
        engine.directory_actor()
        engine.agent_actor(node, path)
        time.sleep(LOOK_S)


def main() -> int:
    """Join until Ray is gone; exit code 1."""
    try:
        join(*sys.argv[1:4])
    except engine.UnavailableError as exc:
        print(f"mediaserver: {exc}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
