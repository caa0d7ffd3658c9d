"""An echo as FastAPI's page on WebSockets has it, under uvicorn with uvloop.

Each PCMU payload is decoded to 16-bit PCM and encoded again, with ``json`` and ``base64``.
"""

from __future__ import annotations

import audioop
import base64
import json
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


@app.websocket("/media")
async def echo(websocket: WebSocket) -> None:
    """Send each media message's audio back, until the peer leaves."""
    await websocket.accept()
    try:
        while True:
            message = json.loads(await websocket.receive_text())
            if message["event"] == "media":
                pcm = audioop.ulaw2lin(base64.b64decode(message["media"]["payload"]), 2)
                payload = base64.b64encode(audioop.lin2ulaw(pcm, 2)).decode()
                media = {"event": "media", "media": {"payload": payload}}
                await websocket.send_text(json.dumps(media))
            elif message["event"] == "stop":
                return
    except WebSocketDisconnect:
        return


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
        ws_per_message_deflate=False,
    )
