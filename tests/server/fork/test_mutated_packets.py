"""Packets that are almost right, in numbers: nothing is raised, and nothing grows."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import tracemalloc
from time import monotonic

from mediaserver.carrier.fork.packets import rtp, strep
from mediaserver.media.frames import Track
from mediaserver.server.fork.forked_call import ForkedCall
from mediaserver.settings import Settings
from mediaserver.wire.messages import StartBody
from tests.fuzz.forks import ADDRESS, Host
from tests.server.fork.forking import Peer, receiving
from tests.server.watching import soon

# FORK_PACKETS=100000 is the number that was promised.
PACKETS = int(os.environ.get("FORK_PACKETS", "6000"))
LEG = "428c31b6-7af4-4bcb-b7f5-5013ef9657c1"
GROWTH_BYTES = 300_000


def mutated(dice: random.Random, number: int) -> bytes:
    """A sound packet, or one with some octets other than they should be, cut or longer."""
    packet = bytearray(
        rtp(
            dice.randbytes(160),
            payload_type=dice.choice((0, 0, 0, 8, 9, 13, 101)),
            sequence=number,
            timestamp=160 * number,
            ssrc=7,
        )
    )
    for _ in range(dice.choice((0, 0, 1, 2, 8))):
        packet[dice.randrange(min(len(packet), dice.choice((2, 12, 172))))] = dice.randrange(256)
    if dice.random() < 0.1:
        del packet[dice.randrange(len(packet)) :]
    head = strep(LEG, dice.choice(("inbound", "outbound"))) if dice.random() < 0.05 else b""
    return head + bytes(packet)


async def test_a_call_takes_mutated_packets_and_does_not_grow() -> None:
    """The memory behind the second half of them is what it was behind the first."""
    host, dice, errors = Host(Settings()), random.Random(20), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    fork = ForkedCall(host, StartBody(call_control_id="mutated"))
    now = monotonic()
    sizes = []
    tracemalloc.start()
    try:
        for number in range(PACKETS):
            track: Track = "outbound" if number % 2 else "inbound"
            at = now + number * 0.01
            fork.packet_received(track, mutated(dice, number // 2), ADDRESS, at)
            if number % 100 == 0 and fork.session is not None:
                fork.session.inbound.poll(at)
                await asyncio.sleep(0)
            if number in (PACKETS // 2, PACKETS - 1):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert fork.session is not None
    stats = fork.session.stats()
    print(f"{PACKETS} packets, {stats.frames_in} taken, {stats.refused} refused; {sizes} octets")
    assert stats.frames_in > 0.3 * PACKETS
    assert stats.refused > 0.05 * PACKETS
    assert sizes[1] - sizes[0] < GROWTH_BYTES, sizes
    fork.stop()
    await host.registry.close(1.0)
    assert not errors


async def test_ports_take_mutated_packets() -> None:
    """Over real sockets; a sound call beside them loses nothing by it."""
    dice = random.Random(21)
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with receiving(n_pairs=2, fork_idle_s=30) as receiver:
        (first, second), (good, _) = receiver.listen()
        with Peer(first) as one, Peer(second) as two, Peer(good) as peer:
            for number in range(PACKETS // 4):
                one.raw(mutated(dice, number))
                two.raw(mutated(dice, number))
                if number % 20 == 0:
                    peer.say(1)
                    await asyncio.sleep(0.001)
            sessions = receiver._calls.sessions
            name = f"fork-{good}-"
            await soon(lambda: any(each.startswith(name) for each in sessions), 30)
            session = next(s for call_id, s in sessions.items() if call_id.startswith(name))
            n_good = len(range(0, PACKETS // 4, 20))
            await soon(lambda: session.stats().frames_in == n_good, 30)
        assert receiver.n_calls <= 4, "of strangers' legs none has begun"
    assert not errors
