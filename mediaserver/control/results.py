"""The result of a command. Light to import, because workers, which have no client, do so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ActionResult:
    """A command was carried out.

    Attributes:
        command_id: of the command.
        result: Telnyx's word, "ok".
        was_already_so: nothing was left to do: already stopped, hung up or transcribed.
    """

    command_id: str
    result: str = "ok"
    was_already_so: bool = False
