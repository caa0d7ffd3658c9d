"""Keys of speech services, for each test here."""

from __future__ import annotations

import pytest

from tests.examples.agents import KEYS


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, for as long as the test lasts: its servers come and go together."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
