"""Imports point one way, and the lower layers touch nothing of the outside world."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "mediaserver": ROOT / "mediaserver",
    "telephony_codecs": ROOT / "codecs/telephony_codecs",
}

# Who may import whom, by the room a module is in. What is in BASE may be imported by all of
# mediaserver but the carrier.
BASE = {"errors", "tokens", "settings", "counters"}
MAY = {
    "telephony_codecs": set(),
    "errors": set(),
    "counters": set(),
    "tokens": set(),
    "settings": {"errors"},
    "wire": {"telephony_codecs"},
    "media": {"telephony_codecs"},
    "processors": {"media", "telephony_codecs"},
    "server": {"processors", "media", "wire", "telephony_codecs"},
    "control": {"processors", "media", "wire", "telephony_codecs"},
    "app": {"server", "control", "processors", "media"},
    "worker": {"app", "server"},
    "carrier": {"telephony_codecs"},
    "cli": {"app", "carrier", "control", "processors", "media", "telephony_codecs"},
    "__init__": {"app", "control", "processors", "media", "settings"},
    "__main__": {"cli"},
}
PURE = {"wire", "media", "telephony_codecs"}
PURE_MODULES = {"mediaserver.processors.core", "mediaserver.processors.chain"}
OUTSIDE = {"asyncio", "socket", "time", "threading", "subprocess", "os", "selectors", "ssl"}
# The file opener and the library finder touch files by their nature.
EXEMPT = {"telephony_codecs.clips", "telephony_codecs.libraries"}


def modules() -> list[tuple[str, Path]]:
    found = []
    for package, root in PACKAGES.items():
        for path in sorted(root.rglob("*.py")):
            parts = [package, *path.relative_to(root).with_suffix("").parts]
            found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


def room(module: str) -> str:
    parts = module.split(".")
    if parts[0] == "telephony_codecs":
        return "telephony_codecs"
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize(("module", "path"), modules(), ids=[m for m, _ in modules()])
def test_imports_point_one_way(module: str, path: Path) -> None:
    """A module imports its own room, the rooms below it, and nothing beside it."""
    own = room(module)
    allowed = MAY[own] | {own} | (BASE if own not in ("carrier", "telephony_codecs") else set())
    for name in imports(path):
        if name.split(".")[0] in PACKAGES and name != "mediaserver":
            assert room(name) in allowed, f"{module} imports {name}"


@pytest.mark.parametrize(
    ("module", "path"),
    [(m, p) for m, p in modules() if (room(m) in PURE or m in PURE_MODULES) and m not in EXEMPT],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lower_layers_touch_nothing_outside(module: str, path: Path) -> None:
    """No asyncio, clock, socket, thread or environment below the session."""
    outside = {name.split(".")[0] for name in imports(path)} & OUTSIDE
    assert not outside, f"{module} imports {outside}"


def test_codecs_is_no_package() -> None:
    """A ``codecs/__init__.py`` would shadow Python's own codecs module."""
    assert not (ROOT / "codecs" / "__init__.py").exists()
    import codecs

    assert Path(codecs.__file__).is_relative_to(Path(sys.base_prefix)) or "lib" in codecs.__file__


def test_codec_library_is_importable_alone() -> None:
    """The codec library knows nothing of the media server."""
    import subprocess

    code = (
        "import sys, telephony_codecs;"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('mediaserver', 'av', 'soxr')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
