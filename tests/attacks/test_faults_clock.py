"""The clock is set by an hour, either way, while calls live: a server under libfaketime."""

from __future__ import annotations

import asyncio
import base64
import glob
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mediaserver.carrier import CallPlan, place_call
from mediaserver.tokens import issue
from tests.attacks.faultkit import FULL, bot, good_calls, server, whole
from tests.control.webhooks.deliveries import KEY, envelope, headers
from tests.server.workers.crews import EchoCall, echoes

SECRET = "canary-of-the-auth-token"
HOUR_S = 3600.0
LIBRARIES = sorted(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1"))

needs_faketime = pytest.mark.skipif(
    not LIBRARIES, reason="libfaketime is not here: apt-get install faketime"
)


async def admitted(url: str, token: str, call_id: str | None = None) -> bool:
    """Whether a call with this token is served."""
    plan = CallPlan(seconds=0.1, token=token)
    if call_id is not None:
        plan = CallPlan(seconds=0.1, token=token, call_control_id=call_id)
    report = await place_call(url, plan)
    return report.error is None and report.close_code == 1000


async def delivered(url: str, event_id: str, at: float) -> int:
    """The status of a webhook that was signed then."""
    body = envelope(id=event_id, call_control_id="v3:nobody")
    request = urllib.request.Request(
        url.replace("ws://", "http://").replace("/media", "/webhooks/telnyx"),
        data=body,
        headers=dict(headers(body, int(at))),
    )

    def post() -> int:
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    return await asyncio.to_thread(post)


@needs_faketime
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=whole)])
@pytest.mark.parametrize("jump_s", [HOUR_S, pytest.param(-HOUR_S, marks=whole)])
async def test_a_clock_that_is_set_cuts_no_call(
    jump_s: float, workers: int, tmp_path: Path
) -> None:
    """Verdicts on tokens and webhooks of before and of after are right as well."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": LIBRARIES[0],
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "MEDIASERVER_AUTH_TOKEN": SECRET,
        "MEDIASERVER_PUBLIC_KEYS": base64.b64encode(bytes(KEY.verify_key)).decode(),
        "MEDIASERVER_RECONNECT_GRACE_S": "0",
    }
    with server(bot("fails"), workers, environment) as (_, url):
        before = issue(SECRET, time.time())
        ended = issue(SECRET, time.time())
        assert await admitted(url, ended, "ended")
        async with EchoCall(url, CallPlan(seconds=600, token=issue(SECRET, time.time()))) as call:
            assert await echoes(call, 0x21)
            if FULL:
                async with good_calls(url, 30, 15, token=SECRET) as beside:
                    clock.write_text(f"{jump_s:+.0f}")
                    await asyncio.sleep(10)
                print(f"\nset by {jump_s:+.0f} s, {workers} processes: {beside.figures()}")
                assert beside.report["summary"]["lost"] == beside.report["summary"]["failed"] == 0
            clock.write_text(f"{jump_s:+.0f}")
            for code in range(0x22, 0x32):
                assert await echoes(call, code)
            now = time.time()
            # Tokens: made before it and used behind it; made behind it; of an ended call; too old.
            assert await admitted(url, before)
            assert await admitted(url, issue(SECRET, now + jump_s))
            assert not await admitted(url, ended, "ended")
            assert not await admitted(url, issue(SECRET, now - 3 * HOUR_S))
            # Webhooks: Telnyx' clock is as it was; or it is ours that was wrong before.
            assert await delivered(url, "true", now) == 200
            assert await delivered(url, "set", now + jump_s) == 200
            for off_s in (2 * HOUR_S, -2 * HOUR_S, jump_s / 2):
                assert await delivered(url, "off", now + off_s) == 401
            assert await echoes(call, 0x33)
