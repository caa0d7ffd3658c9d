"""The metrics say what has happened: against what the fake Telnyx knows it sent.

``TRUTH=200 pytest tests/monitor/test_truth.py`` places so many calls; the usual run a few.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterable

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, place_call
from mediaserver.carrier.plan import Faults
from mediaserver.carrier.report import CallReport
from tests.monitor.scraping import Samples, samples, until
from tests.server.conftest import Serving
from tests.server.workers.crews import IMPATIENT, crew, soon

N = int(os.environ.get("TRUTH", "24"))
AT_ONCE = 24
TOKEN = "s3cret"
CODECS = ("PCMU", "PCMA", "OPUS")
# What only cut calls and calls of a killed worker have: how much of theirs was read is open.
CUT, KILLED = "G722", "L16"
DROP = 0.05


def plan_of(n: int) -> CallPlan:
    """The calls take turns: whole, with loss, sent twice, on two sockets, cut."""
    codec = CODECS[n % 3]
    match n % 8:
        case 1:
            return CallPlan(codec=codec, seconds=1.0, faults=Faults(drop=DROP))
        case 3:
            return CallPlan(codec=codec, seconds=1.0, faults=Faults(duplicate=0.2))
        case 5:
            return CallPlan(codec=codec, seconds=1.4, reconnect_at_s=0.6)
        case 7:
            return CallPlan(codec=CUT, seconds=1.0, faults=Faults(abrupt_close_at_s=0.5))
    return CallPlan(codec=codec, seconds=1.0)


def kept_rising(before: Samples, now: Samples) -> None:
    """Nothing that counts has fallen; a process that is new begins anew with its CPU."""
    for key, value in before.items():
        if key[0].endswith(("_total", "_bucket", "_count", "_sum")) and "cpu" not in key[0]:
            assert now.get(key, 0.0) >= value, key


def sent(reports: Iterable[CallReport]) -> Counter[str]:
    """Media messages by codec."""
    counts: Counter[str] = Counter()
    for report in reports:
        counts[report.plan.codec] += report.sent
    return counts


def fates(found: Samples, codec: str, *fates: str) -> float:
    """Frames that came in, by codec, in these fates together."""
    return sum(found.get(("frames_total", codec, "in", fate), 0.0) for fate in fates)


@pytest.mark.long
async def test_the_numbers_are_the_truth(serving: Serving) -> None:
    """Calls by end, frames by fate, refusals, sockets; and none falls when a worker dies."""
    async with serving(
        "echo",
        workers=2,
        auth_token=TOKEN,
        admin_port=0,
        admin_token="a",
        reconnect_grace_s=5.0,
        limits=IMPATIENT,
        shed_lag_ms=None,
    ) as server:
        seen: list[Samples] = [await samples(server)]

        async def look_on() -> None:
            while True:
                seen.append(await samples(server))
                kept_rising(*seen[-2:])
                await asyncio.sleep(0.2)

        looking = asyncio.create_task(look_on())
        url = f"{server.url}/{TOKEN}"
        reports: list[CallReport] = []
        for first in range(0, N, AT_ONCE):
            plans = map(plan_of, range(first, min(N, first + AT_ONCE)))
            reports += await asyncio.gather(*(place_call(url, plan) for plan in plans))
        for n in range(N // 8):
            await place_call(f"{server.url}/wrong{n}", CallPlan(seconds=0.1))
            await place_call(url, CallPlan(custom_parameters={"send_codec": "SILK"}))
        await soon(lambda: server.service.n_calls == 0)
        found = await samples(server)
        cut = sum(report.plan.codec == CUT for report in reports)
        assert cut == N // 8
        assert found["calls_total",] == N
        assert found["ended_calls_total", "lost"] == cut
        assert found["ended_calls_total", "stop"] == N - cut
        assert found["call_setup_seconds_count",] == found["call_seconds_count",] == N
        assert found["live_calls",] == found["connections",] == 0
        assert found["takeovers_total",] == sum(report.reconnects for report in reports) > 0
        assert found["lost_sockets_total",] == found["takeovers_total",] + cut
        assert found["refused_token_total",] == found["refused_format_total",] == N // 8
        assert found["tokens_total", "shared"] == N + found["takeovers_total",] + N // 8
        whole = sent(reports)
        for codec in CODECS:
            assert fates(found, codec, "delivered", "late", "duplicate") == whole[codec]
        assert 0 < fates(found, CUT, "delivered") <= whole[CUT]
        lossy = [report for report in reports if report.plan.faults.drop]
        dropped = sum(round(report.sent_s / 0.02) - report.sent for report in lossy)
        lost = sum(fates(found, codec, "lost") for codec in CODECS)
        # What was dropped at a call's end leaves no gap.
        assert dropped - 3 * len(lossy) <= lost <= dropped
        back = sum(report.returned for report in reports)
        n_out = sum(
            value for key, value in found.items() if key[0] == "frames_total" and "out" in key
        )
        assert back <= n_out <= sum(whole.values()) + lost
        assert found["socket_bytes_total", "in"] > 200 * sum(whole.values())

        await a_killed_worker_takes_nothing_with_it(server, url)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        assert looking.cancelled(), looking
        assert len(seen) > 5


async def a_killed_worker_takes_nothing_with_it(server: MediaServer, url: str) -> None:
    """What was told of its calls stays; its calls have ended by their reason."""
    plan = CallPlan(codec=KILLED, rate_hz=16000, seconds=4.0)
    calls = [asyncio.create_task(place_call(url, plan.again(n))) for n in range(4)]
    before = await until(server, lambda now: fates(now, KILLED, "delivered") > 4 * 40)
    victim = crew(server).workers[0]
    n_lost = len(victim.calls)
    assert n_lost > 0
    os.kill(victim.pid, signal.SIGKILL)
    after = await until(server, lambda now: now["lost_workers_total",] == 1)
    kept_rising(before, after)
    assert after["ended_calls_total", "worker"] == n_lost == after["lost_with_worker_total",]
    reports = await asyncio.gather(*calls)
    await soon(lambda: server.service.n_calls == 0)
    await soon(lambda: [w.condition for w in crew(server).workers] == ["able", "able"])
    found = await samples(server)
    assert found["calls_total",] == N + 4
    assert found["workers", "able"] == 2
    assert fates(before, KILLED, "delivered") <= fates(found, KILLED, "delivered")
    on_others = sum(report.sent for report in reports if report.problem is None)
    assert on_others <= fates(found, KILLED, "delivered") <= sent(reports)[KILLED]
