"""What the page wants, as it comes."""

from __future__ import annotations

import json

import pytest

from mediaserver.phone.messages import (
    MAX_SHOWN,
    Change,
    HangUp,
    MalformedWishError,
    PlaceCall,
    Press,
    Wish,
    event,
    parse,
)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ('{"do":"call","page_rate_hz":48000}', PlaceCall(48_000)),
        (
            '{"do":"call","page_rate_hz":44100,"number":3,"codec":"L16","rate_hz":16000,'
            '"source":"clip","loss":0.5,"jitter_ms":30}',
            PlaceCall(44_100, 3, "L16", 16_000, "clip", 0.5, 30),
        ),
        ('{"do":"change","loss":1}', Change(loss=1.0)),
        ('{"do":"press","key":"#"}', Press("#")),
        ('{"do":"hang_up"}', HangUp()),
    ],
)
def test_a_wish_is_read(text: str, wish: Wish) -> None:
    """What is left out has its default."""
    assert parse(text) == wish


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 10_000,
        "7",
        '"\udc80"',
        "{}",
        '{"do":"dance"}',
        '{"do":"call"}',
        '{"do":"call","page_rate_hz":"fast"}',
        '{"do":"call","page_rate_hz":48000,"loss":1.1}',
        '{"do":"call","page_rate_hz":48000,"jitter_ms":-1}',
        '{"do":"change","source":"radio"}',
        '{"do":"press","key":"12"}',
        '{"do":"press","key":"x"}',
        '{"do":"' + "x" * 1000 + '"}',
    ],
)
def test_anything_else_is_refused_in_one_short_line(text: str) -> None:
    """Whatever comes."""
    with pytest.raises(MalformedWishError) as refused:
        parse(text)
    assert 0 < len(str(refused.value)) <= MAX_SHOWN
    assert "\n" not in str(refused.value)


def test_an_event_is_json() -> None:
    """With its name and what it tells."""
    told = json.loads(event("ended", why="hung up"))
    assert told == {"event": "ended", "why": "hung up"}
