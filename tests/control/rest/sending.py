"""The one request that a command makes, and values that many commands share."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from mediaserver.control.client import TelnyxClient

CALL = "v3:abc/def"
URL = "wss://media.example.com/media"
COMMON = {"client_state": "hi", "command_id": "cmd-1"}
COMMON_SENT = {"client_state": "aGk=", "command_id": "cmd-1"}


def sent(method: str, *args: Any, **options: Any) -> tuple[str, dict[str, Any]]:
    """The path and body of the one request a command makes."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"data": {"result": "ok", "call_control_id": "v3:new"}})

    async def run() -> None:
        settings = options.pop("client", {})
        async with TelnyxClient("KEY", transport=httpx.MockTransport(answer), **settings) as client:
            holder = client.calls if method == "dial" else client.calls.actions
            await getattr(holder, method)(*args, **options)

    asyncio.run(run())
    assert len(requests) == 1
    assert requests[0].method == "POST"
    assert requests[0].headers["authorization"] == "Bearer KEY"
    return requests[0].url.raw_path.decode(), json.loads(requests[0].content)
