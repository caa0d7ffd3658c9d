"""The scripts in benchmarks/, to run or to load."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def load(name: str) -> ModuleType:
    """A script as a module of its own, fresh each time."""
    spec = importlib.util.spec_from_file_location(f"{name}_bench", ROOT / f"benchmarks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their own module up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
