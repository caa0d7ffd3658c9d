"""The media server inside a web application of the user's own, by ASGI::

from fastapi import FastAPI
from mediaserver import Settings, asgi

media = asgi.app(Settings(processors=…))
web = FastAPI(lifespan=media.lifespan)
web.mount("/telnyx", media)
"""

from __future__ import annotations

from mediaserver.asgi.application import MediaApp
from mediaserver.control.webhooks.receiver import WebhookReceiver
from mediaserver.settings import Settings

__all__ = ["MediaApp", "app"]


def app(settings: Settings | None = None, *, webhooks: WebhookReceiver | None = None) -> MediaApp:
    """Media, webhooks and health as one ASGI application, to be mounted or served by itself.

    Args:
        settings: see ``Settings``; those of listener, drain and workers have no meaning here.
        webhooks: a receiver that another route serves; see ``MediaServer``.

    Raises:
        ConfigurationError: a setting cannot be used, or ``workers`` is not 1.
    """
    return MediaApp(settings, webhooks=webhooks)
