"""``mediaserver cluster``: many machines as one, on Ray."""

from __future__ import annotations

from mediaserver.cli.commands.cluster.command import register

__all__ = ["register"]
