"""What a refusal becomes: an error of its own class, or a success."""

from __future__ import annotations

from typing import Any

import pytest

from mediaserver.control import errors
from mediaserver.control.rest.retry import RetryPolicy
from tests.control.rest.telnyx import Telnyx, hangup, refusal

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
