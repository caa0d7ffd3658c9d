"""Nothing that the server's processes write holds a secret or a number; each line its call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mediaserver.carrier import CallPlan, Faults, place_call
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.faults import RestFault
from mediaserver.carrier.rest.habits import Habits
from mediaserver.settings import LOADER
from tests.ports import free_port
from tests.server.watching import soon

BOTS = Path(__file__).with_name("leakybots.py")
# Of the fake Telnyx's callers and callees.
NUMBERS = ("3122010094", "3122123456", "3122129999")
SECRET_VALUES = {name: f"canary-of-{name}-0123456789" for name in LOADER.secrets}
TOKEN = SECRET_VALUES["auth_token"]
FAILING = tuple(f"{BOTS}:{name}" for name in ("crashes", "commands", "Fails"))
FATES = (*FAILING, "echo", "no_such_processor")


def started(log: Path, command: list[str], own: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **own})


@asynccontextmanager
async def serving(
    log: Path, fake: FakeTelnyx, port: int, *arguments: str
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A server whose every secret is a canary; all that its processes write goes to a file."""
    own = {LOADER.prefix + name.upper(): value for name, value in SECRET_VALUES.items()}
    own |= {
        "MEDIASERVER_API_BASE_URL": fake.base_url,
        "MEDIASERVER_PUBLIC_KEYS": fake.public_key,
        "MEDIASERVER_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "MEDIASERVER_ANSWER": "true",
        "MEDIASERVER_AUTO_RESTART": "true",
        "MEDIASERVER_RECONNECT_GRACE_S": "0.5",
        "PYTHONASYNCIODEBUG": "1",
        "BOT_SECRET": "canary-of-the-environment",
        # A host's output is the log's; a bot in the server's own process prints where it likes.
        "PRINT_NUMBERS": "yes" if "--isolate" in arguments else "",
    }
    offered = [f"--offer={name}" for name in FAILING]
    command = [sys.executable, "-X", "dev", "-m", "mediaserver", "serve", "--port", str(port)]
    command += ["--processor", f"{BOTS}:crashes?key=canary-parameter", "--offer=echo", *offered]
    process = started(log, [*command, "--log-level", "debug", *arguments], own)
    try:
        await soon(lambda: "mediaserver ready on" in log.read_text(), 60)
        yield process
        process.terminate()
        assert await asyncio.wait_for(asyncio.to_thread(process.wait), 60) == 0
    finally:
        process.kill()
        process.wait()


async def good_and_refused_calls(port: int) -> list[str]:
    """Calls that come, crash, are cut and are refused; the ids of those that came in."""
    url = f"ws://127.0.0.1:{port}/media"
    plans = [
        CallPlan(
            seconds=0.6,
            token=TOKEN,
            custom_parameters={"processor": fate, "param_key": "canary-of-a-parameter"},
            faults=Faults(abrupt_close_at_s=0.4) if fate == "echo" else Faults(),
        )
        for fate in FATES
    ]
    wrong = CallPlan(seconds=0.2, token="canary-of-a-wrong-token")
    attempts = [place_call(url, plan) for plan in plans]
    attempts += [place_call(url, wrong), place_call(f"{url}/canary-in-a-path", CallPlan(seconds=0))]
    attempts += [place_call(f"{url}?token=canary-in-a-query", CallPlan(seconds=0.2))]
    await asyncio.gather(*attempts, return_exceptions=True)
    return [plan.call_control_id for plan in plans]


def odd_requests(port: int) -> Iterator[Callable[[], Any]]:
    """Webhooks and other requests that are refused, with secrets wherever they can be."""
    base = f"http://127.0.0.1:{port}"
    secret = {
        "Authorization": f"Bearer {SECRET_VALUES['api_key']}",
        "x-telnyx-streaming-auth-token": TOKEN,
        "telnyx-signature-ed25519": "canary",
        "telnyx-timestamp": "canary",
    }
    for path, body in (
        ("/webhooks/telnyx", b'{"data": {"payload": {"canary": "+13122010094"}}}'),
        ("/webhooks/telnyx", b"canary"),
        ("/webhooks/telnyx?token=canary", None),
        ("/readyz?token=canary", None),
        ("/canary?token=canary", None),
    ):
        request = urllib.request.Request(base + path, body, secret)
        yield lambda request=request: urllib.request.urlopen(request, timeout=20).read()
    for head in (
        b"GET /media?token=canary HTTP/9.9\r\n\r\n",
        b"GET /media/canary HTTP/1.1\r\nAuthorization: canary\r\nUpgrade: websocket\r\n\r\n",
        b"canary\r\n\r\n",
    ):
        yield lambda head=head: send(port, head)


def send(port: int, head: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as end:
        end.sendall(head)
        return end.recv(4096)


async def phone_calls(fake: FakeTelnyx, log: Path) -> list[str]:
    """Calls by webhook and REST: one is answered and hung up, one cannot be answered."""
    for fault in (
        RestFault("status", command="transfer", status=422, code="10015"),
        RestFault("cut", command="hangup"),
        RestFault("status", command="hangup", status=401, code="10009"),
    ):
        fake.faults.add(fault)
    first = fake.ring()
    await soon(lambda: f"call {first.call_control_id} ended" in log.read_text(), 60)
    fake.faults.add(RestFault("status", command="answer", status=422, code="10032", times=9))
    second = fake.ring(to="sip:+13122129999@example.com")
    failed = "a handler of call.initiated failed"
    await soon(lambda: failed in log.read_text(), 60)
    await fake.webhooks.flush()
    return [first.call_control_id, second.call_control_id]


@pytest.mark.parametrize(
    ("form", "arguments"),
    [("text", ()), ("json", ("--workers", "2", "--isolate"))],
    ids=["text", "json of workers and hosts"],
)
async def test_no_process_writes_a_secret(
    tmp_path: Path,
    form: str,
    arguments: tuple[str, ...],
    look_for_canaries: Callable[[str, str], None],
) -> None:
    """At debug level, with asyncio's own; in good calls, refused ones, and all that goes wrong."""
    log, port = tmp_path / "log", free_port()
    habits = Habits(answer_after_s=0.0)
    async with FakeTelnyx(api_key=SECRET_VALUES["api_key"], habits=habits) as fake:
        fake.webhook_url = f"http://127.0.0.1:{port}/webhooks/telnyx"
        async with serving(log, fake, port, "--log-format", form, *arguments):
            call_ids = await good_and_refused_calls(port)
            for request in odd_requests(port):
                with contextlib.suppress(urllib.error.URLError, OSError):
                    await asyncio.to_thread(request)
            call_ids += await phone_calls(fake, log)
    written = log.read_text()
    look_for_canaries("the output of the server's processes", written)
    for number in NUMBERS:
        assert number not in written
    assert "sip:…56@example.com" in written.replace("\\u2026", "…"), "of a traceback"
    check_calls(written, form, call_ids)


def check_calls(written: str, form: str, call_ids: list[str]) -> None:
    """Each line that names a call says so to machines as well."""
    lines = written.splitlines()
    for name in FAILING:
        assert f"processor {name} failed" in written or name.endswith("commands")
    for text in ("refused", "could not be hung up", "webhook refused", "a play failed"):
        assert text in written, text
    if form == "text":
        assert {id_ for id_ in call_ids if any(id_ in line for line in lines)} == {*call_ids}
        return
    found = [json.loads(line) for line in lines]  # nothing else is there, whoever wrote it
    processes = {(each["process"], "worker" in each, "host" in each) for each in found}
    one, worker, host = ("server", False, False), ("worker", True, False), ("host", True, True)
    assert {one, worker, host} <= processes
    for each in found:
        named = [id_ for id_ in call_ids if id_ in each["message"]]
        assert [each["call"]] == named or not named or each["event"] == "other", each
        if each["event"] not in ("other", "printed"):
            assert bool(re.search(r"\bcall v\d:", each["message"])) == bool(each["call"]), each
    assert {"call_started", "call_ended", "processors_that_failed", "printed", "ready"} <= {
        each["event"] for each in found
    }
    ended = [each for each in found if each["event"] == "call_ended"]
    assert all(each["stream"] and each["fields"]["caller"] == "…94" for each in ended)
    assert any("KeyError" in each.get("exception", "") for each in found)
