"""Settings: a file, and the same text as variables and flags."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from mediaserver.errors import ConfigurationError
from mediaserver.settings import LOADER, ProcessorSetting, Settings
from tests.fuzz.harness import Target

FILE = Path(tempfile.mkdtemp(prefix="fuzz-")) / "settings.toml"
NAMES = Settings.__struct_fields__


def load(flags: dict[str, str], environment: dict[str, str], file: Path | None) -> bool:
    """Settings, or one line that says what is wrong and where."""
    try:
        settings = LOADER.load(flags, environment, file, warn=lambda _: None)
    except ConfigurationError as error:
        said = str(error)
        assert said
        assert "\n" not in said, said
        return False
    assert isinstance(settings, Settings)
    assert settings.path_prefix is not None
    return True


def some_settings(data: bytes) -> bool:
    """The file; then line by line a variable and a flag, named by the line's first octet."""
    FILE.write_bytes(data)
    taken = load({}, {}, FILE)
    text = data.decode("utf-8", "surrogateescape")
    for line in text.splitlines()[:2]:
        name, value = NAMES[ord(line[0]) % len(NAMES)] if line else NAMES[0], line[1:]
        load({}, {LOADER.variable(name): value, line: value}, None)
        load({name: value}, {}, None)
        with suppress(ConfigurationError):
            ProcessorSetting.parse(line)
    return taken


# TOML is the operator's own: that a wrong file is looked through for the line costs nothing.
SETTINGS = Target(some_settings, calls=60_000, calls_per_octet=8000.0, kib=4096)
