"""Events and errors in another process are what they were in this one."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.control import errors
from mediaserver.control.encoding import (
    decode_arguments,
    decode_error,
    decode_event,
    decode_result,
    encode_arguments,
    encode_error,
    encode_result,
    no_answer,
)
from mediaserver.control.errors import ControlError, InvalidFieldError, NetworkError, Problem
from mediaserver.control.events import Event, event_class, parse_event
from mediaserver.control.events.parsing import _KINDS
from mediaserver.control.rest.transport import TryTimeoutError
from mediaserver.control.results import ActionResult


def kinds(of: type[ControlError] = ControlError) -> Iterator[type[ControlError]]:
    """Every error class that the control client may raise."""
    if of.__module__ == errors.__name__:
        yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


def example(kind: type[ControlError]) -> ControlError:
    if issubclass(kind, errors.ApiError):
        problems = (Problem("90018", "Call ended", "It is over", "/x"), Problem(title="µ"))
        return kind(422, problems, request_id="r", command_id="c", retry_after_s=1.5)
    if issubclass(kind, NetworkError):
        return kind("connection refused", sent=False, command_id="c")
    if issubclass(kind, errors.InvalidFieldError):
        return kind("call_control_id", "given")
    return kind("what is wrong")


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
def test_every_error_comes_back_as_it_was(kind: type[ControlError]) -> None:
    """Class, fields, arguments and text."""
    error = example(kind)
    again = decode_error(encode_error(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert again.args == error.args
    assert str(again) == str(error)


def test_an_inner_class_comes_back_as_its_public_base() -> None:
    """A class that only the client's inside knows is nobody's to catch."""
    again = decode_error(encode_error(TryTimeoutError("none in time", sent=True)))
    assert type(again) is NetworkError
    assert str(again) == "no answer: none in time"


def test_an_unforeseen_error_shows_its_class_only() -> None:
    """Its text was not written to be shown."""
    again = decode_error(encode_error(KeyError("a private matter")))
    assert type(again) is ControlError
    assert str(again) == "the command failed: KeyError"


def test_no_answer_is_a_network_error() -> None:
    """As where the network gave none: the command may have been carried out."""
    error = no_answer("gone")
    assert type(error) is NetworkError
    assert error.sent


# Lone surrogates cannot be in JSON that was read.
texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
fields = {
    "client_state": st.sampled_from(["/w==", "not base64", 5]),
    "call_control_id": texts,
    "from": texts,
    "transcription_data": st.fixed_dictionaries(
        {"confidence": json_values, "transcript": st.just("x")}
    ),
}


@given(
    st.sampled_from([*_KINDS, "call.of.another.kind"]),
    st.fixed_dictionaries({}, optional={**fields, "more": json_values}),
)
def test_every_event_comes_back_as_it_was(event_type: str, payload: dict[str, Any]) -> None:
    """Equal in class and in every field, whatever its payload holds."""
    data = {"id": "e", "event_type": event_type, "payload": payload}
    event = parse_event(msgspec.json.encode({"data": data, "meta": {"attempt": 1}}))
    again = decode_event(event.event_type, msgspec.json.encode(event))
    assert type(again) is type(event)
    assert again == event
    assert repr(again.payload) == repr(event.payload)


def test_the_class_of_an_event_is_known_by_its_type() -> None:
    """As ``parse_event`` chooses it."""
    assert event_class("call.hangup").__name__ == "CallHangup"
    assert event_class("call.of.another.kind") is Event


@given(st.builds(ActionResult, texts, texts, st.booleans()))
def test_every_result_comes_back_as_it_was(result: ActionResult) -> None:
    """Each of its fields."""
    assert decode_result(encode_result(result)) == result


sendable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(sendable, max_size=2), st.dictionaries(texts, sendable, max_size=4))
def test_arguments_come_back_as_they_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Octets stay octets, and text stays text."""
    again = decode_arguments(encode_arguments(args, kwargs))
    assert again == (args, kwargs)
    assert repr(again) == repr((args, kwargs))


def test_any_mapping_and_sequence_is_sent_as_the_plain_one() -> None:
    """A tuple, a table of one's own."""
    given_ = {"headers": collections.ChainMap({"X-A": ("b", "c")})}
    assert decode_arguments(encode_arguments((), given_)) == ([], {"headers": {"X-A": ["b", "c"]}})


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), 1 << 64, [1 << 70], "\ud800", {"a": {3.5}}, {("a",): 1}, nested(100_000)],
    ids=["set", "object", "long", "long in a list", "surrogate", "set in", "key", "deep"],
)
def test_what_no_command_takes_is_its_fields_error(value: object) -> None:
    """As it would be without a second process: nothing else is made of it on the way."""
    with pytest.raises(InvalidFieldError) as caught:
        encode_arguments((), {"to": "+1", "extra": value})
    assert caught.value.field == "extra"
    with pytest.raises(InvalidFieldError, match=r"^an argument: "):
        encode_arguments((value,), {})
