"""Telephone numbers in the log: shown, masked, or as a short hash."""

from __future__ import annotations

import json

import pytest

from mediaserver.logs import MASKED, Numbers

NUMBER = "+13122010094"
FULL, HASH = Numbers("full"), Numbers("hash", "a key")

WRITTEN = [
    (None, ""),
    ("", ""),
    (NUMBER, "…94"),
    ("13122010094", "…94"),
    ("911", "…"),
    ("1234567", "…"),
    ("anonymous", "…us"),
    ("a\nb\nc\nd\n", "…d\\n"),
    ("sip:+13122010094@example.com", "sip:…94@example.com"),
    ("SIPS:13122010094@10.0.0.5:5061;user=phone", "SIPS:…94@10.0.0.5:5061"),
    ('"Ann Other" <sip:+13122010094@example.com;phone=+13122010095>', "sip:…94@example.com"),
    ("sip:ann:s3cret@example.com", "sip:…@example.com"),
    ("sip:gateway@13122010094.example.com", "sip:…@…94.example.com"),
    ("sip:example.com", "sip:example.com"),
    ("tel:+1-312-201-0094;ext=7", "tel:…94"),
    ("13122010094@example.com", "…94@example.com"),
]


@pytest.mark.parametrize(("number", "written"), WRITTEN)
def test_masked_numbers_have_their_last_two_digits(number: str | None, written: str) -> None:
    """Of a SIP URI scheme and host are left; a name, a password, a parameter are not."""
    assert MASKED(number) == written


@pytest.mark.parametrize(("number", "written"), WRITTEN)
def test_what_is_hidden_stays_as_it_is(number: str | None, written: str) -> None:
    """A second look changes nothing, whichever way it was hidden."""
    for numbers in (MASKED, HASH):
        once = numbers(number)
        assert numbers(once) == once
        assert numbers.within(once) == once


def test_full_numbers_are_shown() -> None:
    """On one line, as all that comes from outside."""
    assert FULL(NUMBER) == NUMBER
    assert FULL("sip:+1312\n@x") == "sip:+1312\\n@x"
    assert FULL.within(f"to {NUMBER}") == f"to {NUMBER}"


def test_a_hash_is_the_same_for_the_same_number() -> None:
    """However it is written; another key gives another one, and nothing of the number is seen."""
    hashed = HASH(NUMBER)
    assert hashed == HASH("1 (312) 201-0094")
    assert hashed != HASH("+13122010095")
    assert hashed != Numbers("hash", "another key")(NUMBER)
    assert len(hashed) == 11
    assert hashed.startswith("#")
    assert HASH(f"sip:{NUMBER}@example.com") == f"sip:{hashed}@example.com"
    with pytest.raises(ValueError, match="key"):
        Numbers("hash")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (f"dial {NUMBER}: no", "dial …94: no"),
        ("to +1 (312) 201-0094, please", "to …94, please"),
        ("to <sip:13122010094@x.com>;tag=1", "to <sip:…94@x.com>;tag=1"),
        ("2026-11-28T20:00:00+00:00 took 1e+10 s", "2026-11-28T20:00:00+00:00 took 1e+10 s"),
        ("+1+2+3+4+5+6+7+8", "+1+2+3+4+5+6+7+8"),
        ("call v3:1234567890 ended: 100 frames", "call v3:1234567890 ended: 100 frames"),
        ("nothing at all", "nothing at all"),
    ],
)
def test_numbers_within_a_text(text: str, written: str) -> None:
    """Those with a plus sign, and SIP URIs; nothing else is taken for one."""
    assert MASKED.within(text) == written


@pytest.mark.parametrize(
    "text", ['sip:1"', "sip:+13122010094@x\\", 'tel:+13122010094"\n', "sip:a@b\\n", '+13122010094"']
)
def test_a_line_of_json_stays_one(text: str) -> None:
    """Quotes and backslashes behind a number are not taken with it."""
    for numbers in (MASKED, HASH):
        line = numbers.within(json.dumps({"a": text, "b": text + text}))
        assert "3122010094" not in line
        assert set(json.loads(line)) == {"a", "b"}
