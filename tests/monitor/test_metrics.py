"""What ``/metrics`` says, and how."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from nacl.signing import SigningKey

from mediaserver.carrier import CallPlan, place_call
from mediaserver.control.client import TelnyxClient
from mediaserver.control.errors import ControlError
from mediaserver.control.rest.retry import RetryPolicy
from mediaserver.figures.figures import Figures
from mediaserver.figures.table import FIGURES, OUTCOMES
from mediaserver.monitor.metrics import PREFIX, counter_families, described, text_of
from mediaserver.tokens import issue
from tests.monitor.scraping import read, samples, scrape, until
from tests.server.conftest import Serving
from tests.server.workers.crews import PATIENT, call_to, crew, echoes, soon

PUBLIC_KEY = base64.b64encode(bytes(SigningKey.generate().verify_key)).decode()
PROMTOOL = shutil.which("promtool")


def names(text: str) -> set[str]:
    """The metrics that a text describes."""
    return {line.split()[2] for line in text.splitlines() if line.startswith("# HELP ")}


@pytest.mark.parametrize("workers", [1, 2])
async def test_every_metric_is_there_from_the_start(serving: Serving, workers: int) -> None:
    """Those that are described in `docs/metrics.md`, and no others; what counts is 0."""
    async with serving("echo", workers=workers, admin_port=0) as server:
        loops = {("loop_lag_seconds_count", loop) for loop in ("calls", "server")[:workers]}
        await until(server, lambda now: loops <= now.keys())
        text = await scrape(server)
    expected = {family.name + "_total" * (family.type == "counter") for family, _ in described()}
    assert names(text) == expected
    values = read(text)
    assert values["calls_total",] == values["commands_total", "ok"] == 0
    assert values["refused_messages_total", "not_json"] == 0
    assert values["ready",] == 1
    assert values["process_resident_bytes", "server"] > 10 << 20
    assert values["process_cpu_seconds_total", "server"] > 0
    assert {key for key in values if key[0] == "loop_lag_seconds_count"} == loops
    states = {key[1]: value for key, value in values.items() if key[0] == "workers"}
    assert states == ({} if workers == 1 else {"able": 2, "late": 0, "starting": 0, "suspected": 0})


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian package prometheus) is not here")
async def test_promtool_finds_nothing(serving: Serving) -> None:
    """Names, units, help and types are as Prometheus wants them, with values and without."""
    assert PROMTOOL is not None
    async with serving("echo", workers=2, admin_port=0) as server:
        assert (await place_call(server.url, CallPlan(seconds=1.2))).problem is None
        text = await scrape(server)
    for each in (text.encode(), text_of(family for family, _ in described())):
        ran = subprocess.run(  # noqa: ASYNC221  # the server has ended
            [PROMTOOL, "check", "metrics"], input=each, capture_output=True, check=False
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_codes_that_a_peer_makes_up_are_one() -> None:
    """Else whoever closes sockets could make as many series as there are numbers."""
    counts = {"closed.1006": 2, "closed.4321": 1, "closed.3999": 1, "closed.99999": 1}
    found = read(text_of(counter_families({**counts, "refused.news": 5})).decode())
    assert {k: v for k, v in found.items() if k[0] == "closed_sockets_total"} == {
        ("closed_sockets_total", "1006"): 2,
        ("closed_sockets_total", "other"): 3,
    }
    assert found["refused_messages_total", "other"] == 5


def test_figures_are_named_as_prometheus_wants_them() -> None:
    """What only grows ends in ``_total``; a histogram in its unit; bounds rise."""
    for name, figure in FIGURES.items():
        assert name.endswith("_total") is not (figure.is_level or bool(figure.bounds)), name
        assert list(figure.bounds) == sorted(set(figure.bounds))
        assert not figure.bounds or name.endswith("_seconds")
        assert figure.help
        assert "\n" not in figure.help


def test_an_observation_is_in_its_bucket() -> None:
    """A bound belongs to the bucket below it; what is above all is in the last."""
    figures = Figures()
    for value in (0.0, 0.001, 0.0011, 5.0, 99.0):
        figures.observe("loop_lag_seconds", value, "calls")
    (counts,) = figures.histograms.values()
    assert (counts[0], counts[1], counts[-3], counts[-2]) == (2, 1, 1, 1)
    assert counts[-1] == pytest.approx(104.0021)


async def test_calls_that_live_are_in_the_numbers(serving: Serving) -> None:
    """Their frames at once; what is sampled once a second, soon."""
    async with serving("echo", admin_port=0) as server:
        async with call_to(server) as call:
            for code in range(0x11, 0x16):
                assert await echoes(call, code)
            found = await samples(server)
            assert found["frames_total", "PCMU", "in", "delivered"] == 5
            assert found["frames_total", "PCMU", "out", "sent"] == 5
            assert found["live_calls",] == found["connections",] == 1
            found = await until(server, lambda now: now["mark_round_trip_seconds_count",] > 0)
            assert found["heard_error_seconds_count",] == found["mark_round_trip_seconds_count",]
            assert found["chain_seconds_count", "echo"] >= 1
            assert found["loop_lag_seconds_count", "calls"] > 0


async def test_a_call_that_comes_back_in_another_codec_keeps_its_sums(serving: Serving) -> None:
    """What it had before counts under the codec it had; octets of both sockets count."""
    async with serving("echo", admin_port=0, reconnect_grace_s=60) as server:
        async with call_to(server) as call:
            for code in range(0x11, 0x14):
                assert await echoes(call, code)
            before = await samples(server)
            call.cut()
            await soon(lambda: server.service.counters["lost_sockets"] == 1)
            plan = {"codec": "PCMA", "call_control_id": call.plan.call_control_id}
            async with call_to(server, **plan) as again:
                for code in range(0x21, 0x23):
                    assert await echoes(again, code)
                found = await samples(server)
        assert server.service.counters["takeovers"] == 1
        ended = await until(server, lambda now: now["ended_calls_total", "stop"] == 1)
    for now in (found, ended):
        assert now["frames_total", "PCMU", "in", "delivered"] == 3
        assert now["frames_total", "PCMA", "in", "delivered"] == 2
        assert now["frames_total", "PCMU", "out", "sent"] == 3
        assert now["frames_total", "PCMA", "out", "sent"] == 2
    octets = [each["socket_bytes_total", "in"] for each in (before, found, ended)]
    assert 3 * 200 < octets[0] < octets[0] + 2 * 200 < octets[1] <= octets[2]


async def test_hosts_are_in_the_numbers(serving: Serving) -> None:
    """How many, the calls in them, and their memory; of every worker."""
    async with serving("echo", workers=2, isolate=True, admin_port=0, limits=PATIENT) as server:
        async with call_to(server) as call:
            assert await echoes(call, 0x11)
            found = await until(server, lambda now: now["isolated_calls",] == 1)
            assert found["processor_hosts",] >= 2
            assert found["process_resident_bytes", "hosts"] > 10 << 20


async def test_a_worker_that_hangs_keeps_nobody_from_the_numbers(serving: Serving) -> None:
    """Its sums stay; it is counted that it did not answer."""
    async with serving("echo", workers=2, admin_port=0, limits=PATIENT) as server:
        assert (await place_call(server.url, CallPlan(seconds=0.2))).problem is None
        await soon(lambda: server.service.n_calls == 0)
        before = await samples(server)
        hung = [worker.pid for worker in crew(server).workers]
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        try:
            found = await samples(server)
        finally:
            for pid in hung:
                os.kill(pid, signal.SIGCONT)
        key = ("frames_total", "PCMU", "in", "delivered")
        assert found[key] == before[key] == 10
        # This scrape's own come behind what it says.
        assert server.service.counters["unanswered_queries"] >= 2


async def test_an_answer_that_cannot_be_read_keeps_nobody_from_the_numbers(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a worker that is broken: the log says so, and the others' numbers are there."""
    async with serving("echo", workers=2, admin_port=0, limits=PATIENT) as server:
        assert (await place_call(server.url, CallPlan(seconds=0.2))).problem is None
        await soon(lambda: server.service.n_calls == 0)
        good = server.service.ask

        async def ask(what: str) -> list[tuple[int | None, bytes]]:
            return [*await good(what), (7, b"\xc1"), (8, b"")]

        monkeypatch.setattr(server.service, "ask", ask)
        found = await samples(server)
    assert found["frames_total", "PCMU", "in", "delivered"] == 10
    assert "the figures of worker 7 cannot be read" in caplog.text


async def test_no_secret_and_no_number_is_in_it(serving: Serving) -> None:
    """Keys, tokens, ids and numbers of calls; what a stranger sends makes no series."""
    secret = "s3cret-canary"
    token = issue(secret, time.time())
    plan = CallPlan(seconds=0.3, token=token, call_control_id="v3:canary-call")
    async with serving(
        "echo",
        auth_token=secret,
        admin_token="admin-canary",
        api_key="KEY-canary",
        public_keys=PUBLIC_KEY,
    ) as server:
        before = set(await samples(server))
        assert (await place_call(server.url, plan)).problem is None
        await place_call(f"{server.url}/canary-path", CallPlan(seconds=0.1))
        async with call_to(server, token=issue(secret, time.time())) as call:
            await call.send({"event": "canary", "canary": "canary"})
            await soon(lambda: server.service.counters["calls"] == 2)
        text = await scrape(server)
    for canary in ("canary", token, "+1312", "v3:"):
        assert canary not in text
    names_of = {key[0] for key in set(read(text)) - before}
    assert names_of <= {"frames_total", "frames_concealed_total"} | {
        f"{name}_seconds_{part}"
        for name in ("chain", "loop_lag")
        for part in ("bucket", "count", "sum")
    }


async def test_webhooks_are_in_the_numbers(serving: Serving) -> None:
    """By verdict, and how long their answers took."""
    async with serving("echo", public_keys=PUBLIC_KEY, admin_port=0) as server:
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{server.service.port}/webhooks/telnyx"
            assert (await client.post(url, json={})).status_code == 401
        found = await samples(server)
    assert found["webhooks_total", "unsigned"] == 1
    assert found["webhooks_total", "accepted"] == 0
    assert found["webhook_seconds_count",] == 1


def answering(status: int, code: str = "1") -> httpx.MockTransport:
    """Telnyx with always the same answer; 0: none."""

    def answer(request: httpx.Request) -> httpx.Response:
        if status == 0:
            raise httpx.ConnectError("nobody there")
        if status == 200:
            return httpx.Response(200, json={"data": {"result": "ok"}})
        return httpx.Response(status, json={"errors": [{"code": code}]})

    return httpx.MockTransport(answer)


@pytest.mark.parametrize(
    ("transport", "outcome", "n_retries"),
    [
        (answering(200), "ok", 0),
        (answering(422, "90018"), "already", 0),
        (answering(422, "10032"), "refused", 0),
        (answering(429), "rate_limit", 2),
        (answering(503), "server_error", 2),
        (answering(0), "network", 2),
    ],
)
async def test_commands_are_counted_by_outcome(
    transport: httpx.MockTransport, outcome: str, n_retries: int
) -> None:
    """Each once, however often it was tried; tries beyond the first are counted, too."""
    assert outcome in OUTCOMES
    policy = RetryPolicy(max_tries=3)
    wait = asyncio.sleep
    async with TelnyxClient(
        "KEY", transport=transport, policy=policy, sleep=lambda _: wait(0)
    ) as client:
        try:
            await client.calls.actions.hangup("c")
        except ControlError:
            assert outcome not in ("ok", "already")
        figures = client.figures
    assert figures.sums.pop(("commands_total", outcome)) == 1
    assert figures.sums.pop(("command_retries_total",), 0) == n_retries
    assert not figures.sums
    (counts,) = figures.histograms.values()
    assert sum(counts[:-1]) == 1


async def test_a_command_that_nobody_waits_for_is_abandoned() -> None:
    """Its task was cancelled, as that of a bot whose call is over."""
    came = asyncio.Event()

    async def never(request: httpx.Request) -> httpx.Response:
        came.set()
        await asyncio.sleep(0.2)
        return httpx.Response(200, json={"data": {}})

    async with TelnyxClient("KEY", transport=httpx.MockTransport(never)) as client:
        task = asyncio.create_task(client.calls.actions.hangup("c"))
        await came.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert client.figures.sums == {("commands_total", "abandoned"): 1}


def test_the_page_names_every_metric() -> None:
    """`docs/metrics.md` is made from the code; so is the help that Prometheus gets."""
    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
    for family, labels in described():
        name = family.name.removeprefix(PREFIX) + "_total" * (family.type == "counter")
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert family.documentation in row
        assert all(f"`{label}`" in row for label in labels)
