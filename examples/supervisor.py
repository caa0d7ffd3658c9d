"""A customer and an agent talk; a supervisor hears both, and whispers to the agent alone.

Who a call is stands in its parameters; allow them in the server's TOML file:

    [[processors]]
    name = "examples/supervisor.py:desk"
    allow = ["role", "room"]

The three have to be calls of one process: no workers, and no isolation with several hosts.
"""

from __future__ import annotations

import asyncio

import numpy as np

from mediaserver import Call, processor

HEARS = {
    "customer": {"agent"},
    "agent": {"customer", "supervisor"},
    "supervisor": {"customer", "agent"},
}
AT_MOST_S = 0.2  # what waits to be mixed; what is older is dropped


class Voice:
    """What another call says, until it is mixed."""

    def __init__(self) -> None:
        self.samples = np.zeros(0, np.int16)

    async def listen(self, other: Call) -> None:
        """Keep what it says last, until it ends."""
        async for frame in other.frames():
            n_most = round(AT_MOST_S * frame.rate)
            self.samples = np.concatenate((self.samples, frame.samples))[-n_most:]

    def take(self, n_samples: int) -> np.typing.NDArray[np.int32]:
        """The next samples; silence where there are none."""
        taken, self.samples = self.samples[:n_samples], self.samples[n_samples:]
        return np.pad(taken, (0, n_samples - len(taken))).astype(np.int32)


@processor(rate=8000)
async def desk(call: Call, role: str = "customer", room: str = "lobby") -> None:
    """Let one of the three hear those whom they are to hear.

    Args:
        call: the call.
        role: ``customer``, ``agent`` or ``supervisor``.
        room: calls with the same one belong together.
    """
    voices: dict[str, Voice] = {}
    call.spawn(meet(call, room, HEARS[role], voices))
    async for frame in call.frames():  # the caller's own audio is the clock
        mixed = np.zeros(len(frame.samples), np.int32)
        for voice in voices.values():
            mixed += voice.take(len(mixed))
        call.play_live(np.clip(mixed, -32768, 32767).astype(np.int16))


async def meet(call: Call, room: str, roles: set[str], voices: dict[str, Voice]) -> None:
    """Listen to calls of these roles as they come, and forget those that are over."""
    while True:
        others = dict(call.calls)
        for call_id in voices.keys() - others.keys():
            del voices[call_id]
        for call_id in others.keys() - voices.keys():
            given = others[call_id].parameters
            is_here = given.get("param_room", "lobby") == room
            if is_here and given.get("param_role", "customer") in roles:
                voices[call_id] = Voice()
                call.spawn(voices[call_id].listen(others[call_id]))
        await asyncio.sleep(0.2)
