"""Builds the one compiled step, where there is a C compiler; all works without it.

A wheel with it is for one kind of machine and every Python from 3.11 on; without it, or with
``MEDIASERVER_COMPILE=0``, it is for all.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "codecs/telephony_codecs"
BUILT = "_compand.abi3.so"
FLAGS = ("-O2", "-shared", "-fPIC", "-Wall")


class Compiled(BuildHookInterface):
    """Compiles it beside its source, so that an editable installation finds it, too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """From hatchling, before a wheel is built."""
        folder = Path(self.root) / FOLDER
        problem = build(folder)
        if problem is not None:
            (folder / BUILT).unlink(missing_ok=True)
            self.app.display_warning(f"without the compiled step: {problem}")
            return
        machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{machine}"
        build_data["artifacts"].append(f"{FOLDER}/{BUILT}")


def build(folder: Path) -> str | None:
    """Compile it in ``folder``; why that was not possible, None if it was."""
    if os.environ.get("MEDIASERVER_COMPILE") == "0":
        return "MEDIASERVER_COMPILE is 0"
    if sys.platform != "linux" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "it is for Linux, and for a Python with its lock"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    # Two environments may be built at once.
    made = folder / f"{BUILT}.{os.getpid()}"
    include = sysconfig.get_paths()["include"]
    line = [*compiler, *FLAGS, f"-I{include}", str(folder / "_compand.c"), "-o", str(made)]
    try:
        subprocess.run(line, check=True, capture_output=True, text=True)
    except OSError as error:
        return f"no compiler: {error}"
    except subprocess.CalledProcessError as error:
        made.unlink(missing_ok=True)
        return str(error.stderr).strip()[:500]
    made.replace(folder / BUILT)
    return None
