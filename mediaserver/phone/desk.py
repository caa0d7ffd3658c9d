"""One page that is open: what it wants is done in its call, and what is heard goes to it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from mediaserver.carrier.line import CONNECT_ERRORS, no_connection
from mediaserver.carrier.plan import CallPlan, PlanError, at_rate, speech
from mediaserver.logs import LimitedLog
from mediaserver.phone.call import LiveCall
from mediaserver.phone.messages import (
    Change,
    HangUp,
    MalformedWishError,
    PlaceCall,
    Press,
    SourceName,
    event,
    parse,
)
from mediaserver.phone.source import Clip, Microphone, Source
from telephony_codecs import RESAMPLE_RATES_HZ, CodecError, Int16Array, Resampler, status

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# Offered where this machine can send and receive it.
FORMATS = (
    ("PCMU", 8000),
    ("PCMA", 8000),
    ("G722", 16000),
    ("OPUS", 16000),
    ("AMR-WB", 16000),
    ("L16", 8000),
    ("L16", 16000),
    ("L16", 24000),
)
TELL_EVERY_S = 0.25
MAX_CALL_S = 3600.0
MAX_REFUSED = 200
MAX_WAITING = 100
"""Messages that wait for a page that does not read; then the oldest goes. About two seconds."""
MAX_HEARD_S = 1.0
LITTLE = np.dtype("<i2")


@functools.cache
def formats() -> list[tuple[str, int]]:
    """Return codec and rate of each call that can be placed here; slow for the first time."""
    missing = {each.codec for each in status() if not each.available}
    return [each for each in FORMATS if each[0] not in missing]


class Desk:
    """Serves one page.

    **Call ``serve``: it returns when the page is gone, and its call with it.**

    Args:
        page: its socket.
        url: where calls go.
        token: the stream's auth token.
    """

    def __init__(self, page: ServerConnection, url: str, token: str | None) -> None:
        self._page = page
        self._url = url
        self._token = token
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue(MAX_WAITING)
        self._call: LiveCall | None = None
        self._is_up = False
        self._number = 0
        self._error: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._microphone: Microphone | None = None
        self._n_refused = 0

    async def serve(self) -> None:
        """Do what the page wants until it is gone."""
        writer = asyncio.create_task(self._write())
        self._tell("ready", url=self._url, formats=formats(), page_rates_hz=RESAMPLE_RATES_HZ)
        try:
            async for message in self._page:
                await self._take(message)
                if self._n_refused > MAX_REFUSED:
                    await self._page.close(1008, "too many messages that cannot be read")
        except ConnectionClosed:
            pass
        finally:
            await self._end_call()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._page.send(await self._outbox.get())

    def _put(self, message: str | bytes) -> None:
        if self._outbox.full():
            self._outbox.get_nowait()
        self._outbox.put_nowait(message)

    def _tell(self, name: str, **fields: Any) -> None:
        self._put(event(name, **fields))

    def _tell_of_call(self, name: str, **fields: Any) -> None:
        self._tell(name, number=self._number, **fields)

    def _decline(self, why: str) -> None:
        self._n_refused += 1
        self._tell("refused", why=why, times=self._n_refused)

    async def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._hear_microphone(message)
            return
        try:
            await self._do(parse(message))
        except MalformedWishError as error:
            self._decline(str(error))

    def _hear_microphone(self, octets: bytes) -> None:
        if len(octets) % LITTLE.itemsize:
            self._decline("audio is 16 bits a sample")
        elif self._microphone is not None:
            self._microphone.push(np.frombuffer(octets, LITTLE).astype(np.int16))

    async def _do(self, wish: PlaceCall | Change | Press | HangUp) -> None:
        match wish:
            case PlaceCall():
                await self._end_call()
                self._number = wish.number
                try:
                    self._place(wish)
                except (CodecError, PlanError) as error:
                    self._tell_of_call("ended", why=str(error))
            case HangUp():
                await self._end_call()
            case Press(key=key):
                if call := self._live():
                    await call.press(key)
            case Change(source=source, loss=loss, jitter_ms=jitter_ms):
                if call := self._live():
                    call.way.change(loss, None if jitter_ms is None else jitter_ms / 1000)
                    if source is not None and self._microphone is not None:
                        call.speak_from(_source(source, self._microphone, call.plan))

    def _live(self) -> LiveCall | None:
        """The call that is up; the page is told if there is none."""
        if self._call is None or not self._is_up:
            self._decline("there is no call")
            return None
        return self._call

    def _place(self, wish: PlaceCall) -> None:
        """Begin a call.

        Raises:
            CodecError: it cannot be had here, or not at these rates.
            PlanError: the plan cannot be carried out.
        """
        plan = CallPlan(
            codec=wish.codec,
            rate_hz=wish.rate_hz,
            token=self._token,
            keep="figures",
            seed=random.getrandbits(32),
        )
        if (plan.codec, plan.in_rate_hz) not in formats():
            raise PlanError(f"no call in {plan.codec} at {plan.in_rate_hz} Hz is placed here")
        microphone = Microphone(wish.page_rate_hz, plan.in_rate_hz)
        to_page = Resampler(plan.out_rate_hz, wish.page_rate_hz)
        call = LiveCall(
            self._url,
            plan,
            _source(wish.source, microphone, plan),
            functools.partial(self._give, to_page),
        )
        call.way.change(wish.loss, wish.jitter_ms / 1000)
        self._call, self._microphone, self._error = call, microphone, None
        self._task = asyncio.create_task(self._hold(call))
        # Not in the task: one that is given up at once never runs.
        self._task.add_done_callback(lambda _: self._over(call))

    def _give(self, to_page: Resampler, heard: Int16Array) -> None:
        """Give the page what was heard; after a stall, the last second of it."""
        given = to_page.process(heard)[-round(MAX_HEARD_S * to_page.out_hz) :]
        if len(given):
            self._put(given.astype(LITTLE).tobytes())

    async def _hold(self, call: LiveCall) -> None:
        try:
            async with call:
                self._is_up = True
                await self._follow(call)
        except CONNECT_ERRORS as exc:
            self._error = no_connection(exc)
        except Exception as exc:  # a fault of ours; the page, and the server, go on
            self._error = f"fault of the phone: {type(exc).__name__}"
            limited.error("phone failed", "the phone's call failed", exc_info=True)
        finally:
            if not self._is_up and call.record.setup_s is not None:
                call.cut()  # given up between connecting and being up

    def _over(self, call: LiveCall) -> None:
        self._is_up = False
        self._tell_of_call("ended", why=self._error or _why_over(call))

    async def _follow(self, call: LiveCall) -> None:
        plan = call.plan
        self._tell_of_call(
            "call", id=plan.call_control_id, codec=plan.codec, rate_hz=plan.in_rate_hz
        )
        reports = asyncio.create_task(self._report_on(call))
        try:
            await call.hold(MAX_CALL_S)
        finally:
            reports.cancel()
            await asyncio.gather(reports, return_exceptions=True)
            self._report(call)

    async def _report_on(self, call: LiveCall) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            self._report(call)

    def _report(self, call: LiveCall) -> None:
        news = call.ledger.news(call.now())
        if news:
            self._tell_of_call("ledger", entries=[each._asdict() for each in news])
        self._tell_of_call("figures", **call.figures())

    async def _end_call(self) -> None:
        """Hang up; a call that is not up yet is given up."""
        if self._task is not None and self._call is not None:
            if self._is_up:
                await self._call.hang_up()
            else:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._call = self._task = self._microphone = None


def _source(name: SourceName, microphone: Microphone, plan: CallPlan) -> Source:
    if name == "microphone":
        return microphone
    return Clip(at_rate(speech(), plan.in_rate_hz), plan.in_rate_hz)


def _why_over(call: LiveCall) -> str:
    record = call.record
    if record.error is not None:
        return record.error
    if record.setup_s is None:
        return "given up"
    if record.hung_up:
        return "hung up"
    reason = f": {record.close_reason}" if record.close_reason else ""
    return f"ended by the server, code {record.close_code or 1006}{reason}"
