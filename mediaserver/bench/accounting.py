"""CPU time and memory of a running process, as the Linux scheduler itself accounts for it.

Does not show: what the kernel did on the process's behalf in softirq context (loopback
TCP runs partly there, on whoever's time it interrupts), nor memory traffic.
"""

from __future__ import annotations

import os
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
    return own_ns + sum(spent_ns(child) for child in _children(pid))


def waited_ns(pid: int) -> int:
    """Nanoseconds they could have run but waited for a core; 0 where that is not accounted.

    Raises:
        FileNotFoundError: no such process.
    """
    own_ns = _schedstat_ns(pid, 1) if source() == SCHEDSTAT else 0
    return own_ns + sum(waited_ns(child) for child in _children(pid))


def _schedstat_ns(pid: int, column: int) -> int:
    # /proc/PID/schedstat alone is the main thread's.
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[column]) for task in tasks)


def _stat_ns(pid: int) -> int:
    # The command name may hold spaces and brackets: count fields from behind its last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for found in lists for child in found.read_text().split()]


def pss_bytes(pid: int) -> int:
    """Memory of ``pid`` and its living descendants; what several share counts once (PSS).

    Raises:
        FileNotFoundError: no such process.
        PermissionError: it is another user's.
    """
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(own.split()[1]) * 1024 + sum(pss_bytes(child) for child in _children(pid))
