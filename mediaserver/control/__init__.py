"""Telnyx's call control over REST, and its webhooks; each name is imported on first use.

A worker needs only the events and errors, and must not load an HTTP client and a web framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mediaserver.control.answer import answer_incoming
    from mediaserver.control.client import TelnyxClient
    from mediaserver.control.rest.actions.bound import BoundActions
    from mediaserver.control.rest.commands import DialedCall
    from mediaserver.control.rest.retry import RetryPolicy
    from mediaserver.control.restart import RestartLimits, StreamRestarter
    from mediaserver.control.results import ActionResult
    from mediaserver.control.webhooks.receiver import WebhookReceiver, webhook_route

__all__ = [
    "ActionResult",
    "BoundActions",
    "DialedCall",
    "RestartLimits",
    "RetryPolicy",
    "StreamRestarter",
    "TelnyxClient",
    "WebhookReceiver",
    "answer_incoming",
    "webhook_route",
]

_LATER = {
    "ActionResult": "mediaserver.control.results",
    "BoundActions": "mediaserver.control.rest.actions.bound",
    "DialedCall": "mediaserver.control.rest.commands",
    "RestartLimits": "mediaserver.control.restart",
    "RetryPolicy": "mediaserver.control.rest.retry",
    "StreamRestarter": "mediaserver.control.restart",
    "TelnyxClient": "mediaserver.control.client",
    "WebhookReceiver": "mediaserver.control.webhooks.receiver",
    "answer_incoming": "mediaserver.control.answer",
    "webhook_route": "mediaserver.control.webhooks.receiver",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
