"""What the pages take from the code is what the code says now."""

from __future__ import annotations

import pytest

from tests.docs.pages import REPOSITORY
from tools.generate_docs import COMMANDS, DOCS, PARTS, filled, parsers, parts_of

PAGES = sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_as_it_would_be_made(page: str) -> None:
    """`make docs` would change nothing."""
    text = (DOCS / page).read_text(encoding="utf-8")
    assert filled(text) == text, "run `make docs`"


def test_each_part_is_on_one_page() -> None:
    """All that can be generated is, once."""
    found = [name for page in PAGES for name in parts_of((DOCS / page).read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(PARTS)


def test_a_part_without_its_end_is_refused() -> None:
    """A page from which a comment was lost is not made longer and longer."""
    with pytest.raises(ValueError, match="has no end"):
        filled("<!-- made by `make docs`: settings -->\ntext\n")


def test_a_page_keeps_what_is_written_by_hand() -> None:
    """Only what is between the comments is replaced, whatever stood there."""
    begin, end = "<!-- made by `make docs`: webhooks -->\n", "<!-- end of webhooks -->\n"
    page = filled(f"before\n{begin}what stood here\n{end}after\n")
    assert page.startswith(f"before\n{begin}")
    assert page.endswith(f"{end}after\n")
    assert "what stood here" not in page
    assert filled(page) == page


def test_every_command_is_listed() -> None:
    """Each command and each of its actions has a heading, in the order of `--help`."""
    text = (REPOSITORY / "docs/commands.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"\n## {name}\n" in text] == list(COMMANDS)
    assert list(parsers()) == list(COMMANDS)
    for action in ("streaming-start", "fork-stop", "dial", "hangup"):
        assert f"\n### control {action}\n" in text


def test_flags_are_told_with_values_and_defaults() -> None:
    """Some that were read and found right."""
    text = (REPOSITORY / "docs/commands.md").read_text(encoding="utf-8")
    for row in (
        "| `--port VALUE` | TCP port; 0 takes a free one (default: 8080) |",
        "| `--url URL` | ws:// or wss:// address of the server; required |",
        "| `--mode MODE` | how it comes back; `rtp` or `mp3`; default: rtp |",
        "| `--json` | print JSON |",
        "| `[NAME …]` | these as well: module:attribute, file.py:attribute |",
    ):
        assert row in text.splitlines()
