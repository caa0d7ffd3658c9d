"""Telnyx's call control over REST, and its webhooks."""

from __future__ import annotations

from mediaserver.control.answer import answer_incoming
from mediaserver.control.client import TelnyxClient
from mediaserver.control.rest.actions.bound import BoundActions
from mediaserver.control.rest.actions.sender import ActionResult
from mediaserver.control.rest.commands import DialedCall
from mediaserver.control.rest.retry import RetryPolicy
from mediaserver.control.restart import RestartLimits, StreamRestarter
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
