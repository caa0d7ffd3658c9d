"""What the pages show exists: links, files, Python that type-checks and runs."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from telephony_codecs import CODECS
from tests.docs.pages import PAGES, REPOSITORY, Block, blocks

PYTHON = [block for page in PAGES for block in blocks(page) if block.language == "python"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"\b((?:examples|docs|benchmarks|tests)/[\w./-]+\.\w+)")

# What a fragment may use without saying where it is from: names that its text explains.
PRELUDE = """\
from __future__ import annotations
from collections.abc import AsyncIterator
from typing import Any
import numpy as np
import numpy.typing as npt
from mediaserver import (
    Call, ControlError, Dtmf, Event, MediaServer, NetworkError, Settings, Stop, StreamingFailed,
    TelnyxClient, UnprocessableError, Webhook, WebhookReceiver
)
Int16Array = npt.NDArray[np.int16]
def synthesize(text: str) -> AsyncIterator[bytes]: ...
"""
GIVEN = (
    "call: Call, samples: Int16Array, client: TelnyxClient, call_control_id: str,"
    " settings: Settings"
)


def is_whole(block: Block) -> bool:
    """Whether a block says itself where its names are from."""
    return bool(re.search(r"^(from|import) (mediaserver|telephony_codecs)\b", block.text, re.M))


def runs(block: Block) -> bool:
    """Whether running a block does more than define things, and needs no call."""
    return is_whole(block) and "@processor" not in block.text and "(Filter)" not in block.text


def test_the_readme_shows_the_example() -> None:
    """The README's bot is the example, letter by letter."""
    shown = next(block for block in PYTHON if block.page == "README.md")
    assert shown.text == (REPOSITORY / "examples/echo_bot.py").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link and every file named is there, and so is the heading of an anchor."""
    text = (REPOSITORY / page).read_text()
    for target in LINK.findall(text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert file.is_file(), target
        if not anchor:  # a picture may be meant
            continue
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
        assert anchor in anchors, target
    for named in PATH.findall(text):
        assert (REPOSITORY / named).is_file(), named


def test_python_on_the_pages_fits_the_code(tmp_path: Path) -> None:
    """Each Python block, put among the names it takes for granted, passes mypy --strict."""
    files = []
    for block in PYTHON:
        text = block.text
        if not is_whole(block):
            imports = "".join(re.findall(r"^(?:from|import) .*\n", text, re.MULTILINE))
            body = textwrap.indent(re.sub(r"^(?:from|import) .*\n", "", text, flags=re.M), "    ")
            text = f"{PRELUDE}{imports}async def given({GIVEN}) -> None:\n{body}"
        file = tmp_path / f"{re.sub(r'[^a-z]', '_', block.page.lower())}_{block.number}.py"
        file.write_text(text)
        files.append(str(file))
    examples = map(str, REPOSITORY.glob("examples/*.py"))
    # `...` as the body of a stand-in is what empty-body is about.
    command = [sys.executable, "-m", "mypy", "--strict", "--disable-error-code", "empty-body"]
    ran = subprocess.run(
        [*command, *files, *examples], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("block", [b for b in PYTHON if is_whole(b)], ids=str)
def test_whole_python_blocks_load(block: Block) -> None:
    """Blocks that import what they use can be compiled, and those that only define, executed."""
    code = compile(block.text, str(block), "exec")
    if not runs(block):
        exec(code, {"__name__": "a_page"})


@pytest.mark.parametrize(
    "block", [b for b in PYTHON if runs(b) and b.page == "docs/codecs.md"], ids=str
)
def test_codec_programs_run(block: Block, tmp_path: Path) -> None:
    """What the codec library's page shows runs as it stands."""
    clip = REPOSITORY / "mediaserver/carrier/speech.wav"
    (tmp_path / "menu.wav").write_bytes(clip.read_bytes())
    ran = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/codecs.md"])
def test_codec_tables_are_complete(page: str) -> None:
    """Every codec has its row; in the library's page with its rates."""
    text = (REPOSITORY / page).read_text()
    for name in CODECS.names():
        rows = re.findall(rf"^\|[^|]*\b{name}\b.*$", text, re.MULTILINE)
        assert rows, name
        if page != "README.md":
            rates = ", ".join(map(str, CODECS.codec(name).rates_hz))
            assert f"| {rates} |" in rows[0], name
