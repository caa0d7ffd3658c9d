"""An echo on picows and uvloop, with ``msgspec`` and ``pybase64``: who picks it wants speed.

Each PCMU payload is decoded to 16-bit PCM and encoded again.
"""

from __future__ import annotations

import audioop
import sys

import msgspec
import pybase64
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Media(msgspec.Struct):
    """What is read of ``media``."""

    payload: str


class Message(msgspec.Struct):
    """What is read of a message."""

    event: str
    media: Media | None = None


decode = msgspec.json.Decoder(Message).decode


class Echo(WSListener):
    """Sends each media message's audio back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame came."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            message = decode(frame.get_payload_as_memoryview())
            if message.media is not None:
                pcm = audioop.ulaw2lin(pybase64.b64decode(message.media.payload), 2)
                payload = pybase64.b64encode(audioop.lin2ulaw(pcm, 2))
                reply = b'{"event":"media","media":{"payload":"%b"}}' % payload
                transport.send(WSMsgType.TEXT, reply)


async def main(port: int) -> None:
    """Echo on ``port`` of the loopback until killed."""

    def listener(_: WSUpgradeRequest) -> WSListener:
        return Echo()

    server = await ws_create_server(listener, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
