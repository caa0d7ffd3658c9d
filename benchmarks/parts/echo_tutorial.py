"""The usual server: ``websockets`` on plain asyncio, ``json``, ``base64``, ``audioop``.

What a reader of the libraries' introductions would write: each PCMU payload is decoded to
16-bit PCM and encoded again. Does not show: ordering, pacing, marks, or how good such a
server could be made.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import warnings

from websockets.asyncio.server import ServerConnection, serve

with warnings.catch_warnings():
    # Python 3.12 announces the removal; from 3.13 on audioop-lts stands in.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop


async def echo(connection: ServerConnection) -> None:
    """Send each media message's audio back, until the peer leaves."""
    async for text in connection:
        message = json.loads(text)
        if message["event"] == "media":
            pcm = audioop.ulaw2lin(base64.b64decode(message["media"]["payload"]), 2)
            payload = base64.b64encode(audioop.lin2ulaw(pcm, 2)).decode()
            await connection.send(json.dumps({"event": "media", "media": {"payload": payload}}))


async def main(port: int) -> None:
    """Echo on ``port`` of the loopback until killed."""
    async with serve(echo, "127.0.0.1", port, compression=None, backlog=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
