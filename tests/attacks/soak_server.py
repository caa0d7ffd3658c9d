"""``mediaserver``, with a census on SIGUSR1; started by ``soak.py``."""

from __future__ import annotations

import sys

from mediaserver.cli import main
from tests.attacks import soakbots

assert soakbots  # loading it is what it is for
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
