"""Text from outside on one short line; ``tests/attacks/test_odd_texts.py`` has the odd ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mediaserver.logs import MAX_SHOWN, shown


@given(st.text(max_size=400))
def test_anything_is_one_short_line(text: str) -> None:
    """Printable, and of bounded length; what prints and is short is left alone."""
    line = shown(text)
    assert line.isprintable()
    assert len(line) <= MAX_SHOWN + len("… (400 characters)")
    if text.isprintable() and len(text) <= MAX_SHOWN:
        assert line == text


def test_what_is_no_text_is_shown_as_one() -> None:
    """Errors, numbers, nothing at all."""
    assert shown(ValueError("a\nb")) == "a\\nb"
    assert shown(None) == "None"
    assert shown("abcdef", 3) == "abc… (6 characters)"
