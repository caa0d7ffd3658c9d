"""``mediaserver bench``: how many calls a server carries."""

from __future__ import annotations

from mediaserver.cli.commands.bench.command import register

__all__ = ["register"]
