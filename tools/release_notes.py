"""Gathers the fragments of changes/ into CHANGELOG.md: ``make release-notes``.

Each fragment becomes a bullet at the end of the section that is not released yet, and its
file is deleted. See changes/README.md.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SECTION = re.compile(r"^## .* – not released yet\n", re.MULTILINE)


def gather(folder: Path, changelog: Path) -> int:
    """Move every fragment of ``folder`` into the changelog; how many there were.

    Raises:
        ValueError: the changelog has no section for it, or a fragment is empty or no bullet's
            text. Nothing was changed.
    """
    fragments = [path for path in sorted(folder.glob("*.md")) if path.name != "README.md"]
    text = changelog.read_text(encoding="utf-8")
    begin = SECTION.search(text)
    if begin is None:
        raise ValueError(f"{changelog.name} has no section '## VERSION – not released yet'")
    bullets = "".join(bullet(path) for path in fragments)
    following = text.find("\n## ", begin.end())
    end = len(text) if following < 0 else following
    before = text[:end].rstrip("\n")
    # A list goes on; behind a paragraph or the heading it begins.
    is_list = before.rpartition("\n")[2].startswith(("- ", "  "))
    if bullets:
        gap = "\n" if is_list else "\n\n"
        changelog.write_text(before + gap + bullets + text[end:], encoding="utf-8")
    for path in fragments:
        path.unlink()
    return len(fragments)


def bullet(path: Path) -> str:
    """A fragment as an item of a list.

    Raises:
        ValueError: it is empty, or has a heading or bullets of its own.
    """
    lines = path.read_text(encoding="utf-8").strip().splitlines()
    if not lines or any(line.startswith(("#", "- ", "* ")) for line in lines):
        raise ValueError(f"{path.name}: a fragment is one paragraph of text, not empty")
    return "- " + "\n  ".join(line.strip() for line in lines) + "\n"


def main() -> None:
    """Gather; one clear line and exit code 1 if that cannot be."""
    try:
        n_fragments = gather(REPOSITORY / "changes", REPOSITORY / "CHANGELOG.md")
    except ValueError as exc:
        sys.exit(f"release-notes: {exc}")
    print(f"{n_fragments} changes gathered into CHANGELOG.md")


if __name__ == "__main__":
    main()
