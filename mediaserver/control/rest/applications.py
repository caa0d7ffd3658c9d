"""Call Control applications, read only: how Telnyx is set up for us.

Source: protocol.md 3. An application's id is the ``connection_id`` of dial and of webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from mediaserver.control.checks import CALL_ID, Check
from mediaserver.control.errors import UnreadableReplyError
from mediaserver.control.rest.commander import Command, Commander
from mediaserver.control.rest.replies import data_of, items_of

_PATH = "/call_control_applications"
_ID = Check("an id as Telnyx gave it", CALL_ID.accepts)


@dataclass(frozen=True)
class CallControlApplication:
    """What is set for the calls of an application; a field Telnyx left out is None.

    Attributes:
        id: the ``connection_id``.
        application_name: as in the portal.
        active: whether calls are taken at all.
        webhook_event_url: where webhooks go.
        webhook_event_failover_url: where they go if that fails.
        webhook_api_version: ``"2"``; webhooks of ``"1"`` cannot be verified.
        webhook_timeout_secs: how long Telnyx waits for an answer to a webhook.
        first_command_timeout: whether a call that gets no command is hung up.
        first_command_timeout_secs: after how long.
    """

    id: str
    application_name: str | None = None
    active: bool | None = None
    webhook_event_url: str | None = None
    webhook_event_failover_url: str | None = None
    webhook_api_version: str | None = None
    webhook_timeout_secs: int | None = None
    first_command_timeout: bool | None = None
    first_command_timeout_secs: int | None = None


class CallControlApplications:
    """``client.call_control_applications``: a good answer also proves the API key.

    Both raise ApiError and NetworkError.
    """

    def __init__(self, commander: Commander) -> None:
        self._commander = commander

    async def retrieve(self, application_id: str) -> CallControlApplication:
        """One application.

        Raises:
            InvalidFieldError: no id.
            UnreadableReplyError: the answer names no application.
        """
        _ID.require("id", application_id)
        question = Command(f"{_PATH}/{quote(application_id, safe='')}")
        found = _application(await self._commander.ask(question, data_of))
        if found is None:
            raise UnreadableReplyError("the answer names no application")
        return found

    async def list(self) -> list[CallControlApplication]:
        """The account's applications, as far as Telnyx's first page goes."""
        items = await self._commander.ask(Command(_PATH), items_of)
        return [found for item in items if (found := _application(item)) is not None]


def _application(data: Mapping[str, Any]) -> CallControlApplication | None:
    identity = data.get("id")
    if not isinstance(identity, str | int) or isinstance(identity, bool) or identity == "":
        return None

    def of_kind(name: str, kind: type) -> Any:
        value = data.get(name)
        return value if type(value) is kind else None

    texts = ("application_name", "webhook_event_url", "webhook_event_failover_url")
    flags = ("active", "first_command_timeout")
    numbers = ("webhook_timeout_secs", "first_command_timeout_secs")
    version = data.get("webhook_api_version")
    return CallControlApplication(
        id=str(identity),
        webhook_api_version=str(version) if isinstance(version, str | int) else None,
        **{name: of_kind(name, str) for name in texts},
        **{name: of_kind(name, bool) for name in flags},
        **{name: of_kind(name, int) for name in numbers},
    )
