"""The settings' documentation agrees with the settings."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from mediaserver.cli.commands import serve
from mediaserver.processors.discovery import find
from mediaserver.processors.parameters import bind
from mediaserver.settings import Settings, load
from mediaserver.sources import meanings
from tests.docs.pages import PAGES, REPOSITORY, blocks


def test_every_setting_has_a_sentence() -> None:
    """The docstring names all settings, and none that there is not."""
    assert set(meanings(Settings)) == set(Settings.__struct_fields__)


def test_the_help_of_a_flag_is_the_settings_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve --help` says of a setting what the docstring says, and its default."""
    monkeypatch.setenv("COLUMNS", "1000")  # a sentence is on one line
    commands = argparse.ArgumentParser().add_subparsers()
    serve.register(commands)
    told = re.sub(r"\s+", " ", commands.choices["serve"].format_help())
    # The flags of processors take one each, and tell how it is written.
    names = meanings(Settings).keys() - {"processors", "offer"}
    given = [name for name in names if f"--{name.replace('_', '-')} " in told]
    assert len(given) > 10
    for name in given:
        default = getattr(Settings(), name)
        shown = "" if default is None or default is False else f" (default: {default})"
        assert f"{meanings(Settings)[name].replace('``', '')}{shown}" in told


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
    for _, setting in settings.named():
        bind(find(setting.name), setting.parameters)
