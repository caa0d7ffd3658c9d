"""A server whose admin pages are on a port of their own."""

from __future__ import annotations

from tests.server.conftest import serving

__all__ = ["serving"]
