"""``called``: a server with your processor, and a call to it, in one line of a test.

    async with called(my_bot) as caller:
        await caller.say(question, 16000)
        await caller.until_quiet()
        assert caller.heard_s > 1.0

The stand-ins do not need the server, so this is not imported with them: name this module.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.settings import ProcessorSetting, Settings
from telephony_codecs import Int16Array, resample_clip

Int32Array = npt.NDArray[np.int32]

CHUNKS_PER_S = 50
# What is louder is heard: -40 dB of full scale.
AUDIBLE = 330
WITHIN_S = 20.0
LOOK_EVERY_S = 0.02


class Caller:
    """Somebody who is in a call: silent, unless told to speak. ``async with`` keeps them there.

    Args:
        call: Telnyx's side of the call, entered; it is not to ``speak()`` itself.
        server: that carries it.

    Attributes:
        call: for whatever a ``FakeCall`` can do: cut, reconnect, its messages, its report.
        server: its ``service.counters`` say what was counted.
    """

    def __init__(self, call: FakeCall, server: MediaServer) -> None:
        self.call = call
        self.server = server
        self._to_say: deque[Int16Array] = deque()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _send(self) -> None:
        """One chunk each 20 ms; what is late is sent at once."""
        n_chunk = self.call.plan.in_rate_hz // CHUNKS_PER_S
        silence = np.zeros(n_chunk, np.int16)
        begin = self.call.now()
        for n in itertools.count(1):
            await self.call.send_audio(self._to_say.popleft() if self._to_say else silence)
            await asyncio.sleep(max(0.0, begin + n / CHUNKS_PER_S - self.call.now()))

    def begin(self, samples: Int16Array, rate: int) -> None:
        """Begin to say something, behind what is being said: int16 ``(n,)`` at ``rate`` Hz."""
        said = resample_clip(samples, rate, self.call.plan.in_rate_hz)
        n_chunk = self.call.plan.in_rate_hz // CHUNKS_PER_S
        whole = np.pad(said, (0, -len(said) % n_chunk))
        self._to_say.extend(whole.reshape(-1, n_chunk))

    async def say(self, samples: Int16Array, rate: int) -> None:
        """Say something, and return when it is said."""
        self.begin(samples, rate)
        await self.until(lambda: not self._to_say, WITHIN_S + len(samples) / rate)

    async def press(self, keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.call.press(key)

    @property
    def heard(self) -> Int16Array:
        """All that was heard so far, from the call's begin, silence included: int16 ``(n,)``."""
        ear = self.call.intake.ear
        return ear.between(0, max(0.0, min(ear.end_s, self.call.now())))

    @property
    def rate(self) -> int:
        """Of what is heard, in Hz."""
        return self.call.intake.ear.rate_hz

    @property
    def heard_s(self) -> float:
        """Seconds in which something was audible."""
        return int(np.count_nonzero(self._audible())) / CHUNKS_PER_S

    def _audible(self) -> npt.NDArray[np.bool_]:
        """Of each 20 ms heard so far."""
        heard = self.heard
        n_window = self.rate // CHUNKS_PER_S
        windows = heard[: len(heard) // n_window * n_window].reshape(-1, n_window)
        peaks: Int32Array = np.abs(windows.astype(np.int32)).max(axis=1, initial=0)
        return peaks >= AUDIBLE

    @property
    def quiet_s(self) -> float:
        """Seconds since something was audible; 0 while nothing was yet."""
        audible = np.flatnonzero(self._audible())
        if not len(audible):
            return 0.0
        return max(0.0, self.call.now() - (int(audible[-1]) + 1) / CHUNKS_PER_S)

    @property
    def is_over(self) -> bool:
        """Whether the call is over."""
        return self.call.over.is_set()

    async def until(self, check: Callable[[], object], within_s: float = WITHIN_S) -> None:
        """Wait for something to be true; a TimeoutError where it does not become so."""
        async with asyncio.timeout(within_s):
            while not check():  # noqa: ASYNC110 - what is heard by now depends on the time
                await asyncio.sleep(LOOK_EVERY_S)

    async def until_heard(self, seconds: float, within_s: float = WITHIN_S) -> None:
        """Wait until so much was audible."""
        await self.until(lambda: self.heard_s >= seconds, within_s)

    async def until_quiet(self, seconds: float = 1.0, within_s: float = WITHIN_S) -> None:
        """Wait until the bot has been audible, and then quiet for so long."""
        await self.until(lambda: self.quiet_s >= seconds, within_s)

    async def until_over(self, within_s: float = WITHIN_S) -> None:
        """Wait until the bot, or the server, has ended the call."""
        async with asyncio.timeout(within_s):
            await self.call.closed.wait()

    async def hang_up(self) -> None:
        """End the call."""
        await self.call.hang_up()


@asynccontextmanager
async def called(
    *processors: str | Callable[..., Any] | ProcessorSetting,
    plan: CallPlan | None = None,
    **settings: Any,
) -> AsyncIterator[Caller]:
    """A server on a free port of this machine, and a call to it.

    Args:
        processors: the chain: processors themselves, their names, or with parameters.
        plan: of the call: codec, custom parameters, tracks; see ``CallPlan``.
        settings: further settings of the server, such as ``max_call_s=10``.

    Raises:
        ConfigurationError: a setting, or a processor, cannot be used.
    """
    chain = tuple(
        each if isinstance(each, ProcessorSetting) else ProcessorSetting(each)
        for each in processors
    )
    given = {"port": 0, "reconnect_grace_s": 0.0, **settings}
    async with (
        MediaServer(Settings(processors=chain, **given)) as server,
        FakeCall.connect(server.url, plan or CallPlan()) as call,
        Caller(call, server) as caller,
    ):
        yield caller
