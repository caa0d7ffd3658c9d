"""Which tests are run against the ASGI mount; ``make asgi`` runs them under both hosts."""

from __future__ import annotations

import os

SERVED_BY = os.environ.get("SERVED_BY", "")
"""``uvicorn`` or ``hypercorn``: fixtures serve every media server as an ASGI application."""

NOT_APPLICABLE = {
    "tests/server/calls/test_endings.py::test_a_shutdown": "the host closes sockets at its end",
    "tests/server/calls/test_calls.py::test_polled": "the host reads, nothing is polled",
    "tests/server/calls/test_ringing.py::test_a_socket_that_goes": "the host says how one was cut",
    "tests/server/calls/test_standstill.py::test_a_standstill_is": "early octets are the host's",
    "tests/server/test_end_lines.py::test_a_peer_that_reads": "uvicorn keeps a dead peer's buffer",
    "tests/server/test_refusals.py::test_a_flood": "heads are the host's",
    "tests/server/test_refusals.py::test_a_head": "heads are the host's",
    "tests/server/test_admission.py::test_an_upgrade_that_cannot": "heads are the host's",
}
"""What tests ask of the own listener that cannot be asked of a mount, by how their names begin."""


def why_not(nodeid: str) -> str | None:
    """Why a test is not run against the mount; None: it is."""
    return next((why for begin, why in NOT_APPLICABLE.items() if nodeid.startswith(begin)), None)
