"""A Telnyx that answers from a list, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

from mediaserver.control.client import TelnyxClient
from mediaserver.control.rest.retry import RetryPolicy

Outcome = int | tuple[int, dict[str, str]] | tuple[int, dict[str, str], Any] | Exception


class VirtualTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        self.sleeps.append(delay_s)
        self.now += delay_s
        await asyncio.sleep(0)


class Telnyx:
    """Answers tries one after another from a list; the last entry answers all further ones."""

    def __init__(self, *outcomes: Outcome, draw: float = 0.5, costs_s: float = 0.0) -> None:
        self.time = VirtualTime()
        self.bodies: list[dict[str, Any]] = []
        self.at_s: list[float] = []
        self._outcomes = outcomes
        self._draw = draw
        self._costs_s = costs_s

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.at_s.append(self.time.now)
        self.time.now += self._costs_s
        self.bodies.append(json.loads(request.content))
        outcome = self._outcomes[min(len(self.bodies), len(self._outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        status, headers, body = (
            (*outcome, {})[:3] if isinstance(outcome, tuple) else (outcome, {}, {})
        )
        if isinstance(body, bytes):
            return httpx.Response(status, headers=headers, content=body)
        return httpx.Response(status, headers=headers, json=body or {"data": {"result": "ok"}})

    def run(self, command: Callable[[TelnyxClient], Any], policy: RetryPolicy | None = None) -> Any:
        async def main() -> Any:
            async with TelnyxClient(
                "KEY",
                transport=httpx.MockTransport(self.answer),
                policy=policy,
                clock=self.time.clock,
                sleep=self.time.sleep,
                draw=lambda: self._draw,
            ) as client:
                return await command(client)

        return asyncio.run(main())

    @property
    def n_tries(self) -> int:
        return len(self.bodies)


def hangup(client: TelnyxClient) -> Any:
    return client.calls.actions.hangup("v3:a")


def dial(client: TelnyxClient) -> Any:
    return client.calls.dial(connection_id="1", from_="+1", to="+2")


def refusal(code: str) -> dict[str, Any]:
    return {"errors": [{"code": code, "title": "t", "detail": "d"}]}
