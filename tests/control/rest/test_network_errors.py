"""Errors of the network are retried and mapped; nobody is called twice."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from mediaserver.control import errors
from mediaserver.control.rest.retry import RetryPolicy
from tests.control.rest.telnyx import Outcome, Telnyx, dial, hangup

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


@pytest.mark.parametrize(
    "body", [b'{"data":{"call_control_id":"\xff\xfe"}}', b"\xff", b" ", b"[" * 9999]
)
def test_a_dial_answered_by_what_cannot_be_read_is_a_control_error(body: bytes) -> None:
    """Broken UTF-8 within a text, or all of it; nobody is called twice for it."""
    telnyx = Telnyx((200, {}, body))
    with pytest.raises(errors.UnreadableReplyError):
        telnyx.run(dial)
    assert telnyx.n_tries == 1
