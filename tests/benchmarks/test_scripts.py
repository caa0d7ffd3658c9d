from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.parts import speech
from tests.benchmarks.scripts import SCRIPTS

pytestmark = pytest.mark.long

FIGURE = r" +-?\d+\.\d\d"
# Of each script lines that only a whole result has: rows of its table, and what ends it.
NEEDS_SPEECH = ("barge_in", "vad")
SHOWN = {
    "asgi": [
        rf"^  o  own listener +({FIGURE}){{4}}$",
        rf"^  u  ASGI, uvicorn +({FIGURE}){{4}}$",
        rf"^  h  ASGI, hypercorn +({FIGURE}){{4}}$",
        rf"^  h/o, pair by pair +({FIGURE}){{3}}$",
        r"^every reply verified$",
    ],
    "barge_in": [
        rf"^  develop {name} +\d+\.\d +\d+ +\d+\.\d\d +\d+\.\d\d .* of \d+$"
        for name in ("barge_in", "vad", "gate", "level")
    ],
    "hearing": [
        rf"^  {name} (8000|16000)({FIGURE})+$" for name in ("single", "vad", "barge_in", "beep")
    ],
    "steps": [
        *(
            rf"^  {step} .*{FIGURE}"
            for step in ("unmask", "JSON", "µ-law", "int16", "base64", "all")
        ),
    ],
    "vad": [
        rf"^  {name} +10 dB +\d+ +\d+\.\d +\d+\.\d +\d+$"
        for name in ("vad", "webrtc", "energy", "level")
    ],
    "codecs": [
        rf"^PCMU encode +table bare({FIGURE}){{4}}×  equal$",
        rf"^48000 → 44100 +audioop.ratecv({FIGURE}){{4}}×  SNR \d+ dB",
    ],
    "checkouts": [
        rf"^  run 1 ({FIGURE}){{4}}$",
        rf"^  median ({FIGURE}){{4}}$",
        r"^new: (no )?slower",
    ],
    "capacity": [
        *(
            rf"^\| {key} +\| \d+\.\d \(.* \| \d\.\d\d \(.* \| 0 +\|$"
            for key in ("plain", "tls", "resample", "workers, 8 calls", "record")
        ),
        r"^every reply verified; took ",
    ],
    "compare": [
        *(
            rf"^\| {name} +\| \d+\.\d \(.* \| \d\.\d\d \(.* \| 0 +\|$"
            for name in ("mediaserver", "bare socket echo", "websockets")
        ),
        r"^ours/floor at 4 calls: \d+\.\d\d",
        r"^every reply verified; took ",
    ],
    "crimes": [
        r"^alone +lost  harmed  back   p99 ms  without   named$",
        r"^  Exits +0 +0  yes +\d+\.\d +\d+\.\d",
    ],
    "fork": [
        rf"^  w  over WebSockets +({FIGURE}){{3}}$",
        rf"^  u  forked over UDP +({FIGURE}){{3}}$",
        rf"^  u/w, pair by pair +({FIGURE}){{3}}$",
        r"^every frame was heard$",
    ],
    "frame_cost": [
        *(rf"^  {variant}  \w.*({FIGURE}){{5}}$" for variant in "abcd"),
        *(rf"^  {ratio} ({FIGURE}){{5}}$" for ratio in ("a/b", "c/a", "c/b", "d/a")),
        r"; every reply verified$",
    ],
    "live": [rf"^  {turn} +({FIGURE}){{4}}$" for turn in ("nobody", "one viewer", "listeners")],
    "memory": [r"^     20 calls +\d+\.\d MiB$", r"^  a call +-?\d+\.\d KiB$"],
    "overload": [
        r"^the knee: \d+ calls$",
        *(rf"^{rung} +\d+ +\d+ +\d+ +0( +\d+\.\d){{6}}$" for rung in ("before", "after")),
        r"^overload +\d+ +\d+ +\d+ +\d+( +\d+\.\d){6}$",
    ],
    "playout": [
        rf"^  clear 200 ({FIGURE}){{4}}$",
        rf"^  cancel 200 ({FIGURE}){{4}}$",
        r"^2 interruptions, every one verified$",
    ],
    "processors": [
        r"^2 calls +µs/frame   more than inline   p99 ms   more$",
        *(
            rf"^  {form} +\d+\.\d +[+-]\d+\.\d +\d+\.\d\d +[+-]\d+\.\d\d$"
            for form in ("filter", "handler", "filter, isolated", "filter, a host each")
        ),
    ],
}


def test_every_script_is_held_to_its_result() -> None:
    """The table above has each script that lies in benchmarks/, and none that has gone."""
    assert set(SHOWN) == {script.stem for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_at_its_smallest(script: Path, tmp_path: Path) -> None:
    """It exits 0, opens with what it does not show, and prints its result; from any folder."""
    if script.stem in NEEDS_SPEECH and not speech.is_here():
        pytest.skip(f"not installed: {speech.PACKAGES}")
    done = subprocess.run(
        [sys.executable, str(script), "--smallest"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    opening, result = done.stdout.split("\nmachine: ")
    assert "What this does NOT show\n  - " in opening
    for line in SHOWN[script.stem]:
        assert re.search(line, result, re.MULTILINE), f"{line}\n{result}"
