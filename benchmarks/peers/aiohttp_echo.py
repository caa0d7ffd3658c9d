"""An echo as aiohttp's page on WebSockets has it, on uvloop.

Each PCMU payload is decoded to 16-bit PCM and encoded again, with ``json`` and ``base64``.
"""

from __future__ import annotations

import audioop
import base64
import json
import sys

import uvloop
from aiohttp import WSMsgType, web


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send each media message's audio back, until the peer leaves."""
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for each in socket:
        if each.type != WSMsgType.TEXT:
            continue
        message = json.loads(each.data)
        if message["event"] == "media":
            pcm = audioop.ulaw2lin(base64.b64decode(message["media"]["payload"]), 2)
            payload = base64.b64encode(audioop.lin2ulaw(pcm, 2)).decode()
            await socket.send_str(json.dumps({"event": "media", "media": {"payload": payload}}))
    return socket


def main(port: int) -> None:
    """Echo on ``port`` of the loopback until killed."""
    app = web.Application()
    app.router.add_get("/media", echo)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=port, loop=loop, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
