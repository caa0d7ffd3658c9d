"""Makes what failed in a parallel run known to one that is not, for ``make again``.

pytest-xdist adds the group of a test to its name; without its workers nobody knows that name,
and pytest would run all tests instead.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

CACHE = Path(".pytest_cache/v/cache/lastfailed")
GROUP = re.compile(r"@[a-z_]+$")

if __name__ == "__main__" and CACHE.exists():
    failed = json.loads(CACHE.read_text())
    CACHE.write_text(json.dumps({GROUP.sub("", name): value for name, value in failed.items()}))
