"""Memory and CPU of this server's processes, as Linux tells them."""

from __future__ import annotations

import os
from pathlib import Path

from mediaserver.figures.figures import Figures
from mediaserver.processes.memory import resident_bytes


def used_by(processes: dict[str, int]) -> Figures:
    """Memory and CPU of each process, by its name; one that is gone is left out."""
    figures = Figures()
    for name, pid in processes.items():
        try:
            # Behind the name, which may hold anything: from the state on.
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError, IndexError):
            continue
        ticks = int(stat[11]) + int(stat[12])
        figures.set("process_resident_bytes", resident_bytes(pid), name)
        figures.add("process_cpu_seconds_total", ticks / os.sysconf("SC_CLK_TCK"), name)
    return figures
