"""``mediaserver``, with a census on SIGUSR1 and a short memory; started by ``soak.py``.

What the server remembers for a time on purpose fills for an hour where so many calls come and
go, and would hide what grows without end. It is bounded by time and number, which tests of its
own hold; here the bounds are so small that each is reached in the first minutes.
"""

from __future__ import annotations

import sys

from mediaserver.cli import main
from mediaserver.control.webhooks.delivery import CallEvents, SeenIds
from mediaserver.tokens import TokenGate
from tests.attacks import soakbots

assert soakbots  # loading it is what it is for


def make_forgetful() -> None:
    """Remember used tokens for a minute, and few webhooks and legs."""
    make_gate, make_ids, make_events = (kind.__init__ for kind in (TokenGate, SeenIds, CallEvents))

    def gate(self: TokenGate, *args: object, **options: object) -> None:
        make_gate(self, *args, **{**options, "unclaimed_s": 60.0})

    def ids(self: SeenIds, keep_s: float) -> None:
        make_ids(self, keep_s, max_ids=1000)

    def events(self: CallEvents, keep_s: float) -> None:
        make_events(self, keep_s, max_legs=200)

    TokenGate.__init__, SeenIds.__init__, CallEvents.__init__ = gate, ids, events


if __name__ == "__main__":
    make_forgetful()
    sys.exit(main(sys.argv[1:]))
