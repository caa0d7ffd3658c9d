"""``mediaserver demo`` on a machine that has not every codec."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediaserver.cli.main import main
from telephony_codecs import CodecUnavailableError, amrwb_cores, opus


def test_a_codec_that_is_not_here_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The other calls are held; what is missing is said with the way to get it; 0."""

    def no_opus(path: str | None = None) -> None:
        raise CodecUnavailableError("OPUS", "decode or encode", "no libopus", "get libopus")

    monkeypatch.setattr(amrwb_cores, "CORES", ())
    monkeypatch.setattr(opus, "libopus", no_opus)
    code = main(["demo", "--seconds", "1", "--recordings", str(tmp_path)])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "without OPUS: cannot decode or encode here: no libopus; get libopus" in said
    assert "without AMR-WB: cannot decode here: this PyAV" in said
    assert "4 calls, 0 failed" in said
    assert len(list(tmp_path.glob("demo-*/*.wav"))) == 4
