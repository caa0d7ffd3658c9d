"""``python -m mediaserver``."""

from __future__ import annotations

import sys

from mediaserver.cli import main

sys.exit(main())
