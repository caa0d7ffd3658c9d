"""What all actions share: the body is checked, sent, and its answer read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from mediaserver.control.checks import CALL_ID
from mediaserver.control.rest.commander import Command, Commander, new_command_id
from mediaserver.control.rest.fields import body, encoded_client_state
from mediaserver.control.results import ActionResult

_ALREADY_STOPPED = frozenset({"90018", "90031", "90048"})
"""Call ended, not forked, streaming not in use: what a stop command wants."""
_ALREADY: Mapping[str, frozenset[str]] = MappingProxyType(
    {"hangup": frozenset({"90018"}), "transcription_start": frozenset({"90054"})}
)
"""Codes that say of other commands: it is so already (protocol.md 3)."""


class ActionSender:
    """Sends commands to one call, named by its ``call_control_id``."""

    def __init__(self, commander: Commander) -> None:
        self._commander = commander

    async def _plain(
        self, call: str, name: str, options: Mapping[str, object], /, **fields: object
    ) -> ActionResult:
        """Send an action whose fields go out as the user gave them."""
        given = {**options, **fields}
        given["client_state"] = encoded_client_state(given.get("client_state"))
        return await self._act(call, name, body(name, given))

    async def _act(
        self, call_control_id: str, name: str, fields: dict[str, object]
    ) -> ActionResult:
        """Send an action with a body that has been checked."""
        CALL_ID.require("call_control_id", call_control_id)
        fields.setdefault("command_id", new_command_id())
        command = Command(
            f"/calls/{quote(call_control_id, safe='')}/actions/{name}",
            fields,
            already=_ALREADY_STOPPED if name.endswith("_stop") else _ALREADY.get(name, frozenset()),
        )
        data = await self._commander.run(command)
        result = text_of(data or {}, "result") or "ok"
        return ActionResult(command.command_id, result, was_already_so=data is None)


def text_of(data: Mapping[str, Any], name: str) -> str | None:
    """A field of an answer, if it is text and not empty."""
    value = data.get(name)
    return value if isinstance(value, str) and value else None
