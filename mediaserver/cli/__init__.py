"""The command line; prints and exits nowhere else."""

from __future__ import annotations

from mediaserver.cli.main import main

__all__ = ["main"]
