"""The command line; no other package prints or exits."""

from __future__ import annotations

from mediaserver.cli.main import main

__all__ = ["main"]
