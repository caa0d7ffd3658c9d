"""``mediaserver phone``: the browser is the caller."""

from __future__ import annotations

from mediaserver.cli.commands.phone.command import PORT_FLAG, register, show

__all__ = ["PORT_FLAG", "register", "show"]
