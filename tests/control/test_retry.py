from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from mediaserver.control import errors
from mediaserver.control.client import TelnyxClient
from mediaserver.control.rest.retry import RetryPolicy, asked_wait_s

ACTIONS = {
    "streaming_stop": "stop_streaming",
    "fork_stop": "stop_forking",
    "transcription_stop": "stop_transcription",
    "hangup": "hangup",
}
Outcome = int | tuple[int, dict[str, str]] | tuple[int, dict[str, str], Any] | Exception


class VirtualTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        self.sleeps.append(delay_s)
        self.now += delay_s
        await asyncio.sleep(0)


class Telnyx:
    """Answers tries one after another from a list; the last entry answers all further ones."""

    def __init__(self, *outcomes: Outcome, draw: float = 0.5, costs_s: float = 0.0) -> None:
        self.time = VirtualTime()
        self.bodies: list[dict[str, Any]] = []
        self.at_s: list[float] = []
        self._outcomes = outcomes
        self._draw = draw
        self._costs_s = costs_s

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.at_s.append(self.time.now)
        self.time.now += self._costs_s
        self.bodies.append(json.loads(request.content))
        outcome = self._outcomes[min(len(self.bodies), len(self._outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        status, headers, body = (
            (*outcome, {})[:3] if isinstance(outcome, tuple) else (outcome, {}, {})
        )
        return httpx.Response(status, headers=headers, json=body or {"data": {"result": "ok"}})

    def run(self, command: Callable[[TelnyxClient], Any], policy: RetryPolicy | None = None) -> Any:
        async def main() -> Any:
            async with TelnyxClient(
                "KEY",
                transport=httpx.MockTransport(self.answer),
                policy=policy,
                clock=self.time.clock,
                sleep=self.time.sleep,
                draw=lambda: self._draw,
            ) as client:
                return await command(client)

        return asyncio.run(main())

    @property
    def n_tries(self) -> int:
        return len(self.bodies)


def hangup(client: TelnyxClient) -> Any:
    return client.calls.actions.hangup("v3:a")


def dial(client: TelnyxClient) -> Any:
    return client.calls.dial(connection_id="1", from_="+1", to="+2")


def refusal(code: str) -> dict[str, Any]:
    return {"errors": [{"code": code, "title": "t", "detail": "d"}]}


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("n_failures", [1, 2, 3, 4])
def test_a_passing_failure_is_retried_with_one_command_id(status: int, n_failures: int) -> None:
    """After any number of passing failures the command succeeds, under one id throughout."""
    telnyx = Telnyx(*[status] * n_failures, 200)
    result = telnyx.run(hangup)
    assert telnyx.n_tries == n_failures + 1
    assert {body["command_id"] for body in telnyx.bodies} == {result.command_id}
    assert telnyx.time.sleeps == [0.25 * 2**n for n in range(n_failures)]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422, 301, 418])
def test_any_other_refusal_is_final(status: int) -> None:
    """An answer that a repeat cannot change is not repeated."""
    telnyx = Telnyx(status)
    with pytest.raises(errors.ApiError) as caught:
        telnyx.run(hangup)
    assert (telnyx.n_tries, caught.value.status) == (1, status)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (422, errors.UnprocessableError),
        (429, errors.RateLimitError),
        (500, errors.ServerError),
        (503, errors.ServerError),
        (400, errors.BadRequestError),
    ],
)
def test_each_kind_of_refusal_has_its_class(status: int, kind: type[errors.ApiError]) -> None:
    """The class of an error says who has to do something about it."""
    body = {
        "errors": [
            {
                "code": "90018",
                "title": "Call has already ended",
                "detail": "This call is no longer active.",
                "source": {"pointer": "/call_control_id"},
                "meta": {},
            }
        ]
    }
    with pytest.raises(kind) as caught:
        Telnyx((status, {"x-request-id": "req-1"}, body)).run(hangup, RetryPolicy(max_tries=1))
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.pointer) == ("90018", "/call_control_id")
    assert error.command_id
    assert str(error) == (
        f"HTTP {status} code 90018 Call has already ended: This call is no longer active. "
        "(/call_control_id) [request req-1]"
    )


@pytest.mark.parametrize(
    "body",
    [[], {"errors": 7}, {"errors": [7]}, {"errors": [{"code": None, "source": 3}]}, "text"],
)
def test_an_error_body_of_any_shape_gives_an_error(body: Any) -> None:
    """Whatever a refusal's body holds, the error has its status and empty fields."""
    with pytest.raises(errors.NotFoundError) as caught:
        Telnyx((404, {}, body)).run(hangup)
    assert str(caught.value) == "HTTP 404"


def test_a_description_stands_in_for_the_detail_and_a_code_may_be_a_number() -> None:
    """Both spellings of an error entry are understood."""
    body = {"errors": [{"code": 10005, "description": "a\nb"}]}
    with pytest.raises(errors.NotFoundError) as caught:
        Telnyx((404, {}, body)).run(hangup)
    assert (caught.value.code, caught.value.detail) == ("10005", "a b")


@pytest.mark.parametrize("code", ["90018", "90031", "90048"])
@pytest.mark.parametrize("action", ["streaming_stop", "fork_stop", "transcription_stop"])
def test_stopping_what_has_stopped_is_a_success(action: str, code: str) -> None:
    """A stop command that finds nothing to stop has reached its aim."""
    telnyx = Telnyx((422, {}, refusal(code)))
    result = telnyx.run(lambda client: getattr(client.calls.actions, ACTIONS[action])("v3:a"))
    assert result.was_already_so
    assert telnyx.n_tries == 1


def test_only_stop_commands_take_a_refusal_for_success() -> None:
    """Hanging up a call that has ended is an error, as Telnyx says."""
    with pytest.raises(errors.UnprocessableError):
        Telnyx((422, {}, refusal("90018"))).run(hangup)


NETWORK = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("t"),
    httpx.PoolTimeout("t"),
    httpx.ProxyError("p"),
    httpx.UnsupportedProtocol("u"),
    httpx.ReadTimeout("t"),
    httpx.WriteTimeout("t"),
    httpx.ReadError("r"),
    httpx.WriteError("w"),
    httpx.CloseError("c"),
    httpx.RemoteProtocolError("gone"),
    httpx.LocalProtocolError("bad"),
    httpx.DecodingError("zip"),
    httpx.TooManyRedirects("loop"),
]
NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}


def concrete(kind: type[Exception]) -> Iterator[type[Exception]]:
    kinds = kind.__subclasses__()
    if not kinds:
        yield kind
    for sub in kinds:
        yield from concrete(sub)


def test_the_list_of_network_errors_is_whole() -> None:
    """Every error that httpx can raise for a request is in the list below."""
    listed = {type(error) for error in NETWORK} | {httpx.HTTPStatusError}
    assert set(concrete(httpx.HTTPError)) <= listed


@pytest.mark.parametrize("error", NETWORK, ids=lambda error: type(error).__name__)
def test_a_network_error_is_retried_and_mapped(error: httpx.HTTPError) -> None:
    """Every error of the HTTP library is retried, and in the end wrapped in one of ours."""
    telnyx = Telnyx(error, 200)
    telnyx.run(hangup)
    assert telnyx.n_tries == 2
    telnyx = Telnyx(error)
    with pytest.raises(errors.NetworkError) as caught:
        telnyx.run(hangup, RetryPolicy(max_tries=3))
    assert telnyx.n_tries == 3
    assert caught.value.sent == (type(error).__name__ not in NOT_SENT)
    assert caught.value.__cause__ is not None
    assert type(error).__name__ in str(caught.value)


@pytest.mark.parametrize("error", NETWORK, ids=lambda error: type(error).__name__)
def test_dial_is_repeated_only_if_it_was_not_sent(error: httpx.HTTPError) -> None:
    """Nobody is called twice: a dial that may have arrived is not sent again."""
    good: Outcome = (200, {}, {"data": {"call_control_id": "v3:new"}})
    telnyx = Telnyx(error, good)
    if type(error).__name__ in NOT_SENT:
        assert telnyx.run(dial).call_control_id == "v3:new"
        assert telnyx.n_tries == 2
    else:
        with pytest.raises(errors.NetworkError):
            telnyx.run(dial)
        assert telnyx.n_tries == 1


@pytest.mark.parametrize("status", [408, 409, 500, 503])
def test_dial_is_not_repeated_after_an_answer_but_429(status: int) -> None:
    """A dial that failed at Telnyx may have placed the call; one that was limited has not."""
    telnyx = Telnyx(status)
    with pytest.raises(errors.ApiError):
        telnyx.run(dial)
    assert telnyx.n_tries == 1
    telnyx = Telnyx(429, (200, {}, {"data": {"call_control_id": "v3:new", "call_leg_id": "L"}}))
    call = telnyx.run(dial)
    assert (telnyx.n_tries, call.call_leg_id, call.call_session_id) == (2, "L", None)


def test_a_dial_whose_answer_names_no_call_is_an_error() -> None:
    """Success without a call id cannot be used, and is not tried again."""
    telnyx = Telnyx((200, {}, [1]))
    with pytest.raises(errors.UnreadableReplyError):
        telnyx.run(dial)
    assert telnyx.n_tries == 1


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
