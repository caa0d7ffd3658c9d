"""The settings' documentation agrees with the settings."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mediaserver.cli import serve
from mediaserver.processors.discovery import find
from mediaserver.processors.parameters import bind
from mediaserver.settings import Settings, load
from tests.docs.pages import PAGES, REPOSITORY, blocks

HEAD = "| setting | default | flag | meaning |\n|---|---|---|---|\n"


def meanings() -> dict[str, str]:
    """What the docstring of ``Settings`` says of each."""
    text = (inspect.getdoc(Settings) or "").partition("Attributes:")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", said).replace("``", "`").rstrip(".") for name, said in found}


def flags() -> dict[str, str]:
    """The flag of each setting that has one."""
    commands = argparse.ArgumentParser().add_subparsers()
    serve.register(commands)
    given = re.findall(r"--[a-z0-9-]+", commands.choices["serve"].format_help())
    named = {flag[2:].replace("-", "_"): flag for flag in given}
    return {**named, "processors": named["processor"]}


def shown(default: Any) -> str:
    """A default as the table has it."""
    if default is None or default == ():
        return "–"
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def table() -> str:
    """The table that belongs into docs/settings.md."""
    by_flag, said = flags(), meanings()
    rows = HEAD
    for field in msgspec.structs.fields(Settings):
        flag = f"`{by_flag[field.name]}`" if field.name in by_flag else ""
        rows += f"| `{field.name}` | {shown(field.default)} | {flag} | {said[field.name]} |\n"
    return rows


def test_every_setting_has_a_sentence() -> None:
    """The docstring names all settings, and none that there is not."""
    assert set(meanings()) == set(Settings.__struct_fields__)


def test_the_table_is_complete() -> None:
    """docs/settings.md has exactly the settings, their defaults, flags and meanings."""
    page = (REPOSITORY / "docs/settings.md").read_text()
    assert table() in page, f"put this table into docs/settings.md:\n{table()}"


@pytest.mark.parametrize(
    ("page", "text"),
    [(b.page, b.text) for page in PAGES for b in blocks(page) if b.language == "toml"],
)
def test_settings_files_are_good(
    page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every settings file shown is read, and its processors are found with their parameters."""
    monkeypatch.chdir(REPOSITORY)
    config = tmp_path / "settings.toml"
    config.write_text(text)
    settings = load({}, {}, config)
    for setting in (*settings.processors, *settings.offer):
        bind(find(setting.name), setting.parameters)
