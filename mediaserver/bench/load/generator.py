"""A process of the generator: it holds its share of each rung's calls."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import resource
import ssl
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import uvloop

from mediaserver.bench.figures import PERIOD_S, Part, Ready, Share, Window
from mediaserver.bench.histogram import Times
from mediaserver.bench.load.calls import Address, BenchCall, RawCall, Tally, address_of
from mediaserver.bench.load.pacer import Pacer, offsets_s
from mediaserver.bench.load.voices import voice

CONNECT_S = 10.0
DRAIN_S = 3.0
"""Frames that come back later than this are lost."""
GOODBYE_S = 2.0


def run_generator(line: Connection) -> None:
    """Do what comes over ``line``, share by share, until it is closed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # What is made for each frame is in no circle; a collection would only be a pause.
    gc.disable()
    with contextlib.suppress(KeyboardInterrupt, EOFError, OSError):
        while True:
            share: Share = line.recv()
            line.send(uvloop.run(_hold(share, line)))
            gc.collect()


async def _hold(share: Share, line: Connection) -> Part:
    tally = Tally()
    calls = _calls_of(share, tally)
    load = share.load
    offsets = offsets_s(share.slots, share.n_calls, load.frames)
    pacer = Pacer(calls, offsets, share.begin_s)
    try:
        await _connect(calls, share, tally)
        line.send(Ready(sum(call.is_up for call in calls)))
        window: Window = await asyncio.to_thread(line.recv)
        tally.begin_s, tally.end_s = window.begin_s, window.end_s
        pacer.end(window.end_s)
        await asyncio.sleep(window.begin_s - time.monotonic())
        cpu_s = time.process_time()
        await asyncio.sleep(window.end_s - time.monotonic())
        cpu_s = time.process_time() - cpu_s
        await _drain(calls)
    finally:
        pacer.close()
    await _hang_up(calls)
    return _part(calls, tally, cpu_s / (window.end_s - window.begin_s))


def _calls_of(share: Share, tally: Tally) -> list[BenchCall]:
    address = address_of(share.load.url, share.load.token)
    mix = share.load.mix
    kept: set[str] = set()
    calls: list[BenchCall] = []
    for slot in share.slots:
        name = mix[slot % len(mix)]
        first, keeps = slot * 17, name not in kept
        kept.add(name)
        number = share.first_number + slot
        kind = RawCall if address.is_raw else BenchCall
        calls.append(kind(number, first, voice(name), address, tally, keeps=keeps))
    return calls


def starts_s(share: Share) -> list[float]:
    """When each of this share's calls begins, in seconds from ``begin_s``."""
    load = share.load
    if load.arrivals == "ramp":
        return [slot / load.rate for slot in share.slots]
    # All processes draw the same numbers, so that together it is one sequence of arrivals.
    dice = random.Random(load.seed)
    at_s, all_s = 0.0, []
    for _ in range(share.n_calls):
        at_s += dice.expovariate(load.rate)
        all_s.append(at_s)
    return [all_s[slot] for slot in share.slots]


async def _connect(calls: Sequence[BenchCall], share: Share, tally: Tally) -> None:
    address = address_of(share.load.url)
    trust = _trust(address)

    async def place(call: BenchCall, at_s: float) -> None:
        await asyncio.sleep(share.begin_s + at_s - time.monotonic())
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: call, address.host, address.port, ssl=trust)
                await call.settled
        except TimeoutError:
            tally.problems[f"not up within {CONNECT_S:g} s"] += 1
        except OSError as error:
            tally.problems[f"no connection: {error.strerror or error}"] += 1

    await asyncio.gather(*map(place, calls, starts_s(share)))


def _trust(address: Address) -> ssl.SSLContext | None:
    if not address.is_tls:
        return None
    trust = ssl.create_default_context()
    if address.host in ("127.0.0.1", "localhost", "::1"):
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    return trust


async def _drain(calls: Sequence[BenchCall]) -> None:
    deadline_s = time.monotonic() + DRAIN_S
    # An event for each call would cost something for each frame.
    while any(call.is_up and call.n_pending for call in calls):
        if time.monotonic() >= deadline_s:
            break
        await asyncio.sleep(PERIOD_S)


async def _hang_up(calls: Sequence[BenchCall]) -> None:
    there = [call for call in calls if call.is_up]
    for call in there:
        call.hang_up()
    if there:
        await asyncio.wait([call.gone for call in there], timeout=GOODBYE_S)
    for call in there:
        call.abort()


def _part(calls: Sequence[BenchCall], tally: Tally, cpu_share: float) -> Part:
    for call in calls:
        if (problem := call.unlike()) is not None:
            tally.problems[problem] += 1
    round_trips, lateness = Times(), Times()
    round_trips.add(tally.round_trips_s)
    lateness.add(tally.lateness_s)
    return Part(
        sent=tally.sent,
        returned=tally.returned,
        wrong=tally.wrong,
        refused=tally.refused,
        problems=dict(tally.problems),
        round_trips_us=round_trips.encode(),
        lateness_us=lateness.encode(),
        cpu_share=cpu_share,
    )
