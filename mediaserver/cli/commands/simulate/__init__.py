"""``mediaserver simulate``: fake Telnyx calls against any server that speaks the protocol."""

from __future__ import annotations

from mediaserver.cli.commands.simulate.command import register
from mediaserver.cli.commands.simulate.flags import plan_of

__all__ = ["plan_of", "register"]
