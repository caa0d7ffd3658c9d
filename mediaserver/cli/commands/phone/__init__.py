"""``mediaserver phone``: the browser is the caller."""

from __future__ import annotations

from mediaserver.cli.commands.phone.command import add_port, open_page, register, say

__all__ = ["add_port", "open_page", "register", "say"]
