"""When a command is tried again, how long it waits, and when it gives up."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from mediaserver.control import errors
from mediaserver.control.client import TelnyxClient
from mediaserver.control.rest.retry import RetryPolicy, asked_wait_s
from tests.control.rest.telnyx import Telnyx, hangup


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("n_failures", [1, 2, 3, 4])
def test_a_passing_failure_is_retried_with_one_command_id(status: int, n_failures: int) -> None:
    """After any number of passing failures the command succeeds, under one id throughout."""
    telnyx = Telnyx(*[status] * n_failures, 200)
    result = telnyx.run(hangup)
    assert telnyx.n_tries == n_failures + 1
    assert {body["command_id"] for body in telnyx.bodies} == {result.command_id}
    assert telnyx.time.sleeps == [0.25 * 2**n for n in range(n_failures)]


def test_the_wait_asked_for_is_kept() -> None:
    """``Retry-After`` and ``x-ratelimit-reset`` are the least wait; the longer one counts."""
    telnyx = Telnyx((429, {"retry-after": "3", "x-ratelimit-reset": "7"}), 200)
    telnyx.run(hangup)
    assert telnyx.time.sleeps == [7.25]


def test_a_wait_past_the_deadline_is_an_error_at_once() -> None:
    """A wait that cannot be kept is not begun."""
    telnyx = Telnyx((429, {"retry-after": "31"}), 200)
    with pytest.raises(errors.RateLimitError) as caught:
        telnyx.run(hangup)
    assert (telnyx.n_tries, telnyx.time.sleeps) == (1, [])
    assert caught.value.retry_after_s == 31


def test_no_try_starts_later_than_50_s_after_the_first() -> None:
    """However patient the policy, Telnyx's memory of a command id is never outlived."""
    policy = RetryPolicy(deadline_s=600, max_tries=1000, cap_s=20)
    telnyx = Telnyx(503, draw=0.7)
    with pytest.raises(errors.ServerError):
        telnyx.run(hangup, policy)
    assert telnyx.n_tries > 3
    assert max(telnyx.at_s) < 50
    with pytest.raises(errors.ServerError):
        Telnyx((503, {"retry-after": "51"})).run(hangup, policy)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("draw", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("costs_s", [0.0, 2.0, 9.0])
def test_the_deadline_is_kept(status: int, draw: float, costs_s: float) -> None:
    """Whatever the jitter and the cost of a try, none begins after the deadline."""
    telnyx = Telnyx(status, draw=draw, costs_s=costs_s)
    with pytest.raises(errors.ApiError):
        telnyx.run(hangup, RetryPolicy(deadline_s=20))
    assert max(telnyx.at_s) < 20
    assert telnyx.n_tries <= RetryPolicy().max_tries


def test_a_sleep_that_overshoots_ends_in_a_timeout() -> None:
    """If the wait itself took too long, no try is made after it."""
    telnyx = Telnyx(503)

    async def oversleep(delay_s: float) -> None:
        telnyx.time.now += delay_s + 100

    telnyx.time.sleep = oversleep  # type: ignore[method-assign]  # a clock that overshoots
    with pytest.raises(errors.CommandTimeoutError):
        telnyx.run(hangup)
    assert telnyx.n_tries == 1


def test_a_try_that_gets_no_answer_is_given_up_and_repeated() -> None:
    """A try has a time limit of its own; the last one ends with the command's deadline."""
    release: list[asyncio.Event] = []
    n_tries = 0

    async def hang(request: httpx.Request) -> httpx.Response:
        nonlocal n_tries
        n_tries += 1
        await release[0].wait()
        return httpx.Response(200, json={})

    async def main() -> None:
        release.append(asyncio.Event())
        policy = RetryPolicy(deadline_s=0.3, try_s=0.1, base_s=0.001)
        async with TelnyxClient(
            "KEY", transport=httpx.MockTransport(hang), policy=policy
        ) as client:
            with pytest.raises(errors.CommandTimeoutError) as caught:
                await hangup(client)
            assert caught.value.sent
            release[0].set()

    asyncio.run(main())
    assert n_tries >= 2


def test_full_jitter_spreads_the_waits() -> None:
    """A wait is a fraction of its bound, and the bound grows to a cap."""
    telnyx = Telnyx(503, draw=0.999)
    with pytest.raises(errors.ServerError):
        telnyx.run(hangup, RetryPolicy(deadline_s=50, cap_s=4))
    assert [round(s, 1) for s in telnyx.time.sleeps] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, {}, None),
        (429, {"retry-after": "2"}, 2.0),
        (429, {"retry-after": "2.5"}, 2.5),
        (503, {"retry-after": "2"}, 2.0),
        (503, {"x-ratelimit-reset": "9"}, None),
        (429, {"x-ratelimit-reset": "9"}, 9.0),
        (429, {"retry-after": "-1"}, None),
        (429, {"retry-after": "nan"}, None),
        (429, {"retry-after": "1e3"}, None),
        (429, {"retry-after": "²"}, None),
        (429, {"retry-after": "soon", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        (429, {"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, None),
        (
            429,
            {
                "retry-after": "Sun, 06 Nov 1994 08:49:47 GMT",
                "date": "Sun, 06 Nov 1994 08:49:37 GMT",
            },
            10.0,
        ),
        (
            429,
            {
                "retry-after": "Sun, 06 Nov 1994 08:49:07 GMT",
                "date": "Sun, 06 Nov 1994 08:49:37 GMT",
            },
            0.0,
        ),
        (
            429,
            {"retry-after": "Sun, 06 Nov 1994 08:49:07", "date": "Sun, 06 Nov 1994 08:49:37 GMT"},
            None,
        ),
    ],
)
def test_what_an_answer_asks_to_wait(
    status: int, headers: dict[str, str], wait_s: float | None
) -> None:
    """Seconds and dates are read; anything else asks for nothing."""
    assert asked_wait_s(status, headers) == wait_s


def test_a_cancelled_command_starts_no_further_try() -> None:
    """Cancelled while it waits between tries, a command is over."""
    n_tries = 0

    def fail(request: httpx.Request) -> httpx.Response:
        nonlocal n_tries
        n_tries += 1
        return httpx.Response(503)

    async def main() -> None:
        waiting = asyncio.Event()

        async def sleep(delay_s: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

        async with TelnyxClient("KEY", transport=httpx.MockTransport(fail), sleep=sleep) as client:
            task = asyncio.create_task(hangup(client))
            await waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert n_tries == 1
