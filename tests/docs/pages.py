"""The pages users read, and what is in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(REPOSITORY))
    for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"))
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, ``number`` counted from 1."""

    page: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.language}-{self.number}"


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page."""
    text = (REPOSITORY / page).read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(page, n, language, body) for n, (language, body) in enumerate(found, 1)]
