"""Lines of the log: one JSON object each, whatever their texts hold."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.logs import MASKED, LimitedLog, call_over, call_streams
from mediaserver.logs.formats import (
    MAX_EXCEPTION,
    MAX_MESSAGE,
    MAX_RECORD,
    JsonFormatter,
    LineHandler,
    WithoutNumbers,
    text_formatter,
)


class Bad:
    """What cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def record(text: object = "a text", *args: Any, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("mediaserver.x", logging.INFO, "x.py", 1, text, args, None)
    made.created = 1795898834.3531606
    made.__dict__.update(extra)
    return made


def read(made: logging.LogRecord, **process: Any) -> dict[str, Any]:
    """A record as JSON has it; one line, and no NaN, which is no JSON."""
    line = JsonFormatter(process).format(made)
    assert line.isascii()
    assert line.isprintable()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return found


def test_what_is_in_a_line() -> None:
    """All that is known of it; what is not known is null or not there."""
    extra = {"event": "call_ended", "call_id": "v3:1", "stream_id": "s", "fields": {"n": 1}}
    assert read(record("%s ended", "it", customer=7, **extra), process="worker", worker=3) == {
        "time": "2026-11-28T20:47:14.353Z",
        "level": "info",
        "event": "call_ended",
        "message": "it ended",
        "call": "v3:1",
        "stream": "s",
        "logger": "mediaserver.x",
        "process": "worker",
        "worker": 3,
        "pid": os.getpid(),
        "fields": {"n": 1, "customer": 7},
    }
    bare = read(record())
    assert (bare["event"], bare["call"], bare["stream"]) == ("other", None, None)
    assert bare["process"] == "server"
    assert "fields" not in bare


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("\n\r\x00\x1b\u2028", "\n\r\x00\x1b\u2028"),
        ("\ud800 half", "\\ud800 half"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1 << 60, hex(1 << 60)),
        (10**5000, hex(10**5000)[:1000]),
        (b"\xff", "b'\\xff'"),
        (Bad(), "<Bad>"),
        (
            {1: Bad(), "\ud800": (1, 2.5, None, True)},
            {"1": "<Bad>", "\\ud800": [1, 2.5, None, True]},
        ),
        ("x" * 2000, "x" * 1000 + "… (2000 characters)"),
        ([[[[[["deep"]]]]]], [[["[[['deep']]]"]]]),
    ],
    ids=str.split("text surrogate nan inf large huge bytes bad table long deep"),
)
def test_odd_fields(value: object, written: object) -> None:
    """What users give as ``extra`` may be anything."""
    assert read(record(odd=value))["fields"]["odd"] == written


def test_a_field_within_itself() -> None:
    """Ends somewhere."""
    ring: list[Any] = []
    ring.append(ring)
    assert "..." in str(read(record(odd=ring))["fields"])


@given(st.text(), st.one_of(st.text(), st.integers(), st.floats(), st.binary()))
def test_any_text_is_one_line(text: str, value: object) -> None:
    """Also as an id, an event, a message, or a field's name."""
    made = record(text, event=text, call_id=text, fields={text: value})
    assert {"message", "call"} <= set(read(made))


def test_long_texts_are_cut() -> None:
    """Ids as everywhere; of a traceback begin and end are kept."""
    found = read(record("m" * 900_000, call_id="c" * 900_000))
    assert found["message"] == "m" * MAX_MESSAGE + "… (900000 characters)"
    assert found["call"] == "c" * 128 + "… (900000 characters)"
    made = record()
    try:
        raise ValueError("v" * 900_000 + "the end")
    except ValueError:
        made.exc_info = sys.exc_info()
    exception = read(made)["exception"]
    assert len(exception) == MAX_EXCEPTION + len("… (900123 characters) …")
    assert exception.startswith("Traceback (most recent call last):\n  File ")
    assert exception.endswith("the end")
    many = {str(n): "f" * 1000 for n in range(99)}
    assert read(record(fields=many))["fields"]["too_long"] > 99_000
    few = {"n": "f" * 1000}
    assert read(record("\x00" * 20_000, fields=few))["fields"] == few


def test_exceptions_are_a_field() -> None:
    """With their chain; and a stack where one was asked for."""
    made = record("failed", stack_info=None)
    try:
        try:
            raise KeyError("first")
        except KeyError as exc:
            raise ValueError("then\nmore") from exc
    except ValueError:
        made.exc_info = sys.exc_info()
    made.stack_info = "Stack:\n  here"
    found = read(made)
    assert "KeyError: 'first'" in found["exception"]
    assert found["exception"].endswith("ValueError: then\nmore")
    assert found["stack"] == "Stack:\n  here"


def test_arguments_that_do_not_fit_lose_nothing() -> None:
    """A plugin's mistake: the text comes all the same."""
    assert read(record("%d lines", "x"))["message"] == (
        "%d lines (its arguments do not fit: TypeError)"
    )
    assert read(record("%s", Bad()))["message"] == "%s (its arguments do not fit: RuntimeError)"
    assert read(record(Bad()))["message"] == "<Bad> (its arguments do not fit: RuntimeError)"


FORGED = "2026-01-01 00:00:00,000 ERROR forged"
LINE_ENDS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]


def failed(text: str) -> logging.LogRecord:
    """A record with an exception of this text."""
    made = record("failed")
    try:
        raise ValueError(text)
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_a_readable_line_is_as_ever() -> None:
    """One that prints has nothing changed, also where it is not ASCII or has a backslash."""
    made = record("to %s", r"ü 漢 \n …94")
    plain = logging.Formatter("%(asctime)s %(levelname)s worker 1 %(name)s: %(message)s")
    assert text_formatter("worker 1").format(made) == plain.format(made)


@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
def test_no_text_looks_like_a_record(end: str) -> None:
    """Neither a message nor an exception, by whatever somebody takes for the end of a line."""
    for made in (record("customer %s", f"x{end}{FORGED}"), failed(f"x{end}{FORGED}")):
        lines = text_formatter().format(made).splitlines()
        assert FORGED in lines[-1]
        assert not any(line.startswith("2026-01-01") for line in lines)
        assert all(line.startswith("    ") for line in lines[1:])


@given(st.text())
def test_any_text_prints(text: str) -> None:
    """Newlines and tabs are left, and all but the first line are indented."""
    first, *others = text_formatter().format(record("%s", text)).split("\n")
    assert all(line.startswith("    ") for line in others)
    assert len(others) == text.count("\n")
    assert "".join([first, *others]).replace("\t", "").isprintable()


def test_what_does_not_print_is_escaped() -> None:
    """As in a text that is shown: nothing clears a screen or turns a line round."""
    line = text_formatter().format(failed("a\x1b[2J\0\u202eb\tc"))
    assert line.endswith("    ValueError: a\\x1b[2J\\x00\\u202eb\tc")


@pytest.mark.parametrize("character", ["v", "\n", "\0"], ids=ascii)
def test_a_long_readable_record_is_cut(character: str) -> None:
    """Its begin and its end are kept: where it was, and what it was."""
    found = text_formatter().format(failed(character * 5_000_000 + "the end"))
    assert len(found) < MAX_RECORD + 50
    assert "INFO mediaserver.x: failed\n    Traceback (most recent call last):\n" in found
    assert re.search(r"… \(50\d{5} characters\) …", found)
    assert found.endswith("the end")
    assert not any(line[:1].isdigit() for line in found.split("\n")[1:])


def test_readable_arguments_that_do_not_fit_lose_nothing() -> None:
    """As in JSON; before, logging itself wrote the whole text to stderr."""
    line = text_formatter().format(record("%d lines", "x"))
    assert line.endswith(": %d lines (its arguments do not fit: TypeError)")
    line = text_formatter().format(record("%s", Bad()))
    assert line.endswith(": %s (its arguments do not fit: RuntimeError)")


def test_numbers_are_hidden_in_any_form() -> None:
    """Whichever formatter made the line; also in an exception, and in a field."""
    made = record("to %s", "+13122010094", who="sip:+13122010094@x.com")
    try:
        raise ValueError("+13122010094")
    except ValueError:
        made.exc_info = sys.exc_info()
    text = WithoutNumbers(text_formatter("worker 1"), MASKED).format(made)
    assert "3122010094" not in text
    assert " INFO worker 1 mediaserver.x: to …94\n" in text
    line = WithoutNumbers(JsonFormatter(), MASKED).format(made)
    assert "3122010094" not in line
    assert json.loads(line)["fields"] == {"who": "sip:…94@x.com"}


def test_a_line_is_one_write() -> None:
    """Long as it may be, so that those of several processes stay whole; what is no text passes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = LineHandler(writer, "ascii")
    handler.setFormatter(text_formatter())
    handler.emit(record("\ud800 ü " + "x" * 20_000))
    line = os.read(reader, 65536)
    assert line.endswith(b"x\n")
    assert rb": \ud800 \xfc x" in line
    for _ in range(8):  # until the pipe is full: that line is lost, and nothing else
        handler.emit(record("y" * 20_000))
    os.close(reader)
    handler.emit(record("nobody reads"))
    os.close(writer)
    handler.emit(record("it is closed"))


def test_events_and_calls_of_records(caplog: pytest.LogCaptureFixture) -> None:
    """A kind gives its event; a call its stream, while it has one."""
    log = LimitedLog(logging.getLogger("mediaserver.tests"))
    call_streams("c1", None)
    log.warning("odd things", "one", call="c1")
    call_streams("c1", "s1")
    log.error("odd things", "two", call="c1", fields={"n": 2})
    log.each(logging.ERROR, "closed.1006", "three")
    call_over("c1")
    call_over("c1")
    log.error("odd things", "four", call="c1")
    found = [
        (r.event, getattr(r, "call_id", ""), getattr(r, "stream_id", "")) for r in caplog.records
    ]
    assert found == [
        ("odd_things", "c1", None),
        ("odd_things", "c1", "s1"),
        ("closed_1006", "", ""),
        ("odd_things", "c1", None),
    ]
    assert {r.funcName for r in caplog.records} == {"test_events_and_calls_of_records"}
