from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.harness import feed
from tests.fuzz.targets import FIXTURES, MODULES, load

ALL = sorted(file for file in FIXTURES.glob("*/*/*") if file.is_file())


@pytest.mark.parametrize("file", ALL, ids=lambda file: "-".join(file.parts[-3:]))
def test_a_fixture_is_taken_or_refused_as_its_folder_says(file: Path) -> None:
    """By the errors that are declared, within the work and the memory of its length."""
    target, verdict, _ = file.parts[-3:]
    assert feed(load(target), file.read_bytes()) is (verdict == "taken")


def test_every_target_has_fixtures() -> None:
    """Some that are good and some that are malformed; and none is of a target that has gone."""
    found = {(file.parts[-3], file.parts[-2]) for file in ALL}
    assert found == {(name, verdict) for name in MODULES for verdict in ("taken", "refused")}
