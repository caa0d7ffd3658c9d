"""How much memory a process has."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def resident_bytes(pid: int) -> int:
    """The memory of a process that is in RAM, as Linux says; 0 where it is not known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
