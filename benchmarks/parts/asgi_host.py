"""The echo as an ASGI application, under uvicorn or hypercorn, on loopback until killed.

Does not show: an application around it.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvicorn
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

from mediaserver import ProcessorSetting, asgi, load_settings


def main(host: str, port: int) -> None:
    """Serve on ``port``."""
    settings = load_settings({"processors": (ProcessorSetting("echo"),)}, os.environ)
    app = asgi.app(settings)
    if host == "uvicorn":
        ws = "websockets-sansio"
        uvicorn.run(app, port=port, ws=ws, loop="uvloop", log_level="error", ws_ping_interval=None)
        return
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = config.accesslog = None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(app, config))  # type: ignore[arg-type]  # its own name for ASGI


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
