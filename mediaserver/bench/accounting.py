"""CPU time and memory of a running process, as the Linux scheduler itself accounts for it.

Does not show: what the kernel did on the process's behalf in softirq context (loopback
TCP runs partly there, on whoever's time it interrupts), nor memory traffic.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

SCHEDSTAT = "/proc/PID/task/*/schedstat (ns on CPU)"
STAT = "/proc/PID/stat (utime + stime, clock ticks)"


def source() -> str:
    """The accounting this kernel offers: ``SCHEDSTAT``, or ``STAT`` where it is built without."""
    return SCHEDSTAT if Path("/proc/self/schedstat").exists() else STAT


def spent_ns(pid: int) -> int:
    """Nanoseconds on CPU of ``pid`` and its living descendants, every thread, since they started.

    Raises:
        FileNotFoundError: no such process.
    """
    own_ns = _schedstat_ns(pid, 0) if source() == SCHEDSTAT else _stat_ns(pid)
    return own_ns + _of_children(pid, spent_ns)


def waited_ns(pid: int) -> int:
    """Nanoseconds they could have run but waited for a core; 0 where that is not accounted.

    Raises:
        FileNotFoundError: no such process.
    """
    own_ns = _schedstat_ns(pid, 1) if source() == SCHEDSTAT else 0
    return own_ns + _of_children(pid, waited_ns)


def _schedstat_ns(pid: int, column: int) -> int:
    # /proc/PID/schedstat alone is the main thread's.
    return sum(int(text.split()[column]) for text in _of_threads(pid, "schedstat"))


def _stat_ns(pid: int) -> int:
    # The command name may hold spaces and brackets: count fields from behind its last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _of_children(pid: int, measured: Callable[[int], int]) -> int:
    """The sum over the child processes; one that has ended meanwhile counts nothing."""
    total = 0
    for text in _of_threads(pid, "children"):
        for child in text.split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += measured(int(child))
    return total


def _of_threads(pid: int, name: str) -> list[str]:
    """A file of each thread; without those that end while they are read.

    Raises:
        FileNotFoundError: no such process.
    """
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        # The second comes where it ends between opening and reading.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append((task / name).read_text())
    if not found:
        raise FileNotFoundError(f"no process {pid}")
    return found


def pss_bytes(pid: int) -> int:
    """Memory of ``pid`` and its living descendants; what several share counts once (PSS).

    Raises:
        FileNotFoundError: no such process.
        PermissionError: it is another user's.
    """
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(own.split()[1]) * 1024 + _of_children(pid, pss_bytes)
