"""What this machine's codecs can do, so that tests skip with the library's own reason."""

from __future__ import annotations

import pytest

from telephony_codecs import status

MISSING = {
    (each.codec, each.direction): f"{each.reason}; {each.remedy}"
    for each in status()
    if not each.available
}


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    """Skip a test marked ``needs(codec, direction)`` where that is missing."""
    for mark in request.node.iter_markers("needs"):
        if mark.args in MISSING:
            pytest.skip(MISSING[mark.args])


def pytest_configure(config: pytest.Config) -> None:
    """Announce the mark."""
    config.addinivalue_line("markers", "needs(codec, direction): skip where it is unavailable")
