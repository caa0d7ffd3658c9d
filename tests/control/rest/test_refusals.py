"""What a refusal becomes: an error of its own class, or a success."""

from __future__ import annotations

from typing import Any

import pytest

from mediaserver.control import TelnyxClient, errors
from mediaserver.control.rest.retry import RetryPolicy
from tests.control.rest.telnyx import Telnyx, dial, hangup, refusal

ACTIONS = {
    "streaming_stop": "stop_streaming",
    "fork_stop": "stop_forking",
    "transcription_stop": "stop_transcription",
    "hangup": "hangup",
}


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
                "code": "90034",
                "title": "Call not answered yet",
                "detail": "This call rings.",
                "source": {"pointer": "/call_control_id"},
                "meta": {},
            }
        ]
    }
    with pytest.raises(kind) as caught:
        Telnyx((status, {"x-request-id": "req-1"}, body)).run(hangup, RetryPolicy(max_tries=1))
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.pointer) == ("90034", "/call_control_id")
    assert error.command_id
    assert str(error) == (
        f"HTTP {status} code 90034 Call not answered yet: This call rings. "
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


def transcribe(client: TelnyxClient) -> Any:
    return client.calls.actions.start_transcription("v3:a")


def stop_recording(client: TelnyxClient) -> Any:
    return client.calls.actions.stop_recording("v3:a")


def speak(client: TelnyxClient) -> Any:
    return client.calls.actions.speak("v3:a", payload="a", voice="b")


@pytest.mark.parametrize(
    ("command", "code"),
    [(hangup, "90018"), (transcribe, "90054"), (stop_recording, "90018")],
)
def test_what_is_so_already_is_a_success(command: Any, code: str) -> None:
    """A call that has ended is hung up; one that is transcribed is transcribed."""
    telnyx = Telnyx((422, {}, refusal(code)))
    assert telnyx.run(command).was_already_so
    assert telnyx.n_tries == 1


@pytest.mark.parametrize(
    ("command", "status", "code", "kind"),
    [
        (transcribe, 422, "90018", errors.UnprocessableError),
        (transcribe, 422, "90053", errors.UnprocessableError),
        (hangup, 422, "90054", errors.UnprocessableError),
        (speak, 422, "90018", errors.UnprocessableError),
        (hangup, 400, "90018", errors.BadRequestError),
    ],
)
def test_no_other_refusal_is_taken_for_a_success(
    command: Any, status: int, code: str, kind: type[errors.ApiError]
) -> None:
    """A code means success only for its own command, and only with 422."""
    with pytest.raises(kind):
        Telnyx((status, {}, refusal(code))).run(command)


@pytest.mark.parametrize("status", [404, 422])
def test_an_invalid_call_id_is_not_found(status: int) -> None:
    """90015 is "no such call", whichever of the two statuses it comes with."""
    telnyx = Telnyx((status, {}, refusal("90015")))
    with pytest.raises(errors.NotFoundError) as caught:
        telnyx.run(hangup)
    assert (caught.value.status, caught.value.code, telnyx.n_tries) == (status, "90015", 1)


@pytest.mark.parametrize("code", ["10004", "10032", "10033", "10015", "90017", "90055", "10011"])
def test_a_422_is_final_whatever_its_code(code: str) -> None:
    """10011 at 422 is a refusal of SRTP, not a rate limit: the status decides."""
    telnyx = Telnyx((422, {}, refusal(code)))
    with pytest.raises(errors.UnprocessableError) as caught:
        telnyx.run(hangup)
    assert (caught.value.code, telnyx.n_tries) == (code, 1)


@pytest.mark.parametrize("code", ["10007", "90072"])
def test_a_503_is_tried_again_whatever_its_code(code: str) -> None:
    """Telnyx's two codes of a passing failure are repeated like any 503."""
    telnyx = Telnyx((503, {}, refusal(code)), 200)
    assert telnyx.run(hangup).result == "ok"
    assert telnyx.n_tries == 2


def test_too_many_dials_are_a_rate_limit() -> None:
    """90103 at 429 is waited for; a dial that was refused so rang nobody's phone."""
    dialled = {"data": {"call_control_id": "v3:new"}}
    telnyx = Telnyx((429, {"retry-after": "2"}, refusal("90103")), (200, {}, dialled))
    assert telnyx.run(dial).call_control_id == "v3:new"
    assert telnyx.time.sleeps == [2.25]
    with pytest.raises(errors.RateLimitError) as caught:
        Telnyx((429, {}, refusal("90103"))).run(dial, RetryPolicy(max_tries=1))
    assert caught.value.code == "90103"
