"""The server inside a program of your own: dial, stream, react to what Telnyx reports.

    python examples/embed.py CONNECTION_ID FROM TO

Settings come from the environment, as for ``mediaserver serve``; needed are
MEDIASERVER_PUBLIC_URL, MEDIASERVER_AUTH_TOKEN, TELNYX_API_KEY and TELNYX_PUBLIC_KEY.
"""

from __future__ import annotations

import asyncio
import os
import sys

from mediaserver import (
    Call,
    CallAnswered,
    CallHangup,
    MediaServer,
    ProcessorSetting,
    load_settings,
    processor,
)


@processor
async def echo(call: Call) -> None:
    """Play back what is heard."""
    async for frame in call.frames():
        await call.play(frame.samples, frame.rate, live=True)


async def main(connection_id: str, from_: str, to: str) -> None:
    """Call somebody, let them hear themselves, end when they hang up."""
    settings = load_settings({"processors": [ProcessorSetting(echo)]}, os.environ)
    async with MediaServer(settings) as server:
        if server.client is None or server.webhooks is None:
            sys.exit("TELNYX_API_KEY and TELNYX_PUBLIC_KEY are needed")
        calls = server.client.calls
        over = asyncio.Event()

        @server.webhooks.on("call.answered")
        async def answered(event: CallAnswered) -> None:
            assert event.call_control_id is not None
            await calls.actions.start_streaming(event.call_control_id, processor="echo")
            print("streaming", flush=True)

        @server.webhooks.on("call.hangup")
        def hung_up(event: CallHangup) -> None:
            print(f"over: {event.hangup_cause}", flush=True)
            over.set()

        await calls.dial(connection_id=connection_id, from_=from_, to=to)
        await over.wait()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
