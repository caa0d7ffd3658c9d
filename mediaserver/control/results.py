"""What a command has come to. Light to import: a worker does, and has no client."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ActionResult:
    """A command was carried out.

    Attributes:
        command_id: of the command.
        result: Telnyx's word, "ok".
        was_already_so: there was nothing left to do: stopped, hung up, transcribed already.
    """

    command_id: str
    result: str = "ok"
    was_already_so: bool = False
