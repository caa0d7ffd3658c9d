"""Fragments of changes come into the changelog, and are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY
from tools.release_notes import bullet, gather

LOG = """\
# Changelog

## 0.2.0 – not released yet

- **Old.** It was
  there.

## 0.1.0 – 2026-01-01

- **Older.** It too.
"""


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    folder = tmp_path / "changes"
    folder.mkdir()
    (folder / "README.md").write_text("# How\n\n- so\n")
    (folder / "b.md").write_text("**B.** One line.\n")
    (folder / "a.md").write_text("**A.** Two\nlines.\n\n")
    return folder


def test_fragments_become_bullets_and_are_deleted(changes: Path, tmp_path: Path) -> None:
    """In the order of their names, at the section's end; what tells how to write them stays."""
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(LOG)
    assert gather(changes, changelog) == 2
    made = LOG.replace("  there.\n", "  there.\n- **A.** Two\n  lines.\n- **B.** One line.\n")
    assert changelog.read_text() == made
    assert [path.name for path in changes.iterdir()] == ["README.md"]
    assert gather(changes, changelog) == 0
    assert changelog.read_text() == made


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("", "\n- **A.** Two\n  lines.\n- **B.** One line.\n"),
        ("\nIn words.\n", "\nIn words.\n\n- **A.** Two\n  lines.\n- **B.** One line.\n"),
    ],
    ids=["empty", "a paragraph"],
)
def test_a_section_without_bullets_gets_its_first(
    changes: Path, tmp_path: Path, section: str, wanted: str
) -> None:
    """They stand below what is there, with a line between; also at the end of the file."""
    changelog = tmp_path / "CHANGELOG.md"
    head = "# Changelog\n\n## 0.1.0 – not released yet\n"
    changelog.write_text(head + section)
    gather(changes, changelog)
    assert changelog.read_text() == head + wanted


def test_without_a_section_nothing_is_touched(changes: Path, tmp_path: Path) -> None:
    """A changelog whose last version is out needs a new heading first."""
    changelog = tmp_path / "CHANGELOG.md"
    released = LOG.replace("not released yet", "2026-02-02")
    changelog.write_text(released)
    with pytest.raises(ValueError, match="not released yet"):
        gather(changes, changelog)
    assert changelog.read_text() == released
    assert (changes / "a.md").exists()


@pytest.mark.parametrize("text", ["", "\n", "# Heading\n", "- a bullet\n", "fine\n- not fine\n"])
def test_a_fragment_of_another_form_is_refused(changes: Path, tmp_path: Path, text: str) -> None:
    """It is named, and nothing is touched, the good ones included."""
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(LOG)
    (changes / "bad.md").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.md"):
        gather(changes, changelog)
    assert changelog.read_text() == LOG
    assert (changes / "a.md").exists()


def test_the_fragments_that_wait_are_of_the_form() -> None:
    """What stands in changes/ can be gathered at any time."""
    for path in (REPOSITORY / "changes").glob("*.md"):
        if path.name != "README.md":
            assert bullet(path).startswith("- **"), path.name
            assert max(map(len, path.read_text().splitlines())) <= 95, path.name
