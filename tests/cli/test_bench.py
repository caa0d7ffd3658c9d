"""``mediaserver bench``, in small."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from mediaserver.bench.own_server import NoServerError
from mediaserver.cli import main
from tests.docs.pages import REPOSITORY

SMALL = ["bench", "--max-calls", "2", "--seconds", "0.3", "--warmup", "0.1"]


def test_a_server_is_started_measured_and_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a token and flags of its own; JSON on stdout has all, and not the token."""
    token = "token-of-the-bench"
    monkeypatch.setenv("MEDIASERVER_AUTH_TOKEN", token)
    html = tmp_path / "report.html"
    flags = ["--json", "--html", str(html), "--codec", "pcmu,opus", "--frames", "bunches"]
    code = main([*SMALL, *flags, "--arrivals", "poisson", "--", "--workers", "2"])
    said = capfd.readouterr()
    report = json.loads(said.out)
    assert code in (0, 3), said.err
    assert report["server"] == "mediaserver serve --processor echo --workers 2"
    assert report["load"]["mix"] == ["PCMU", "OPUS"]
    assert report["baseline"]["sent"] > 0
    assert report["rungs"][0]["server"]["cpu_us_per_frame"] > 0
    assert report["rungs"][0]["server"]["loop_lag_ms"] is not None
    assert {"cpu", "commit", "python"} <= set(report["machine"])
    assert "<svg" in html.read_text(encoding="utf-8")
    assert token not in said.out + said.err + html.read_text(encoding="utf-8")


def test_so_many_calls_are_one_rung(capfd: pytest.CaptureFixture[str]) -> None:
    """Behind that of a few calls."""
    code = main(["bench", "--calls", "3", "--seconds", "0.3", "--warmup", "0.1", "--json"])
    report = json.loads(capfd.readouterr().out)
    assert [rung["n_calls"] for rung in report["rungs"]] == [3]
    assert (code == 0) is (report["rungs"][0]["outcome"] == "good")


def test_nobody_at_the_url_is_exit_code_1(capfd: pytest.CaptureFixture[str]) -> None:
    """And one line that says it."""
    assert main([*SMALL, "--url", "ws://127.0.0.1:9/media"]) == 1
    assert "mediaserver bench: a few calls (1) are not served well: " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--max-calls", "0"], "--max-calls must be from 1"),
        (["--calls", "0"], "--calls must be from 1"),
        (["--processes", "0"], "--processes must be from 1"),
        (["--seconds", "0.1"], "--seconds is from 0.2"),
        (["--codec", "MORSE"], "MORSE"),
        (["--codec", "PCMU>MORSE"], "MORSE"),
        (["--url", "http://x"], "begins with ws://"),
        (["--pid", "1"], "--pid is for a server of --url"),
        (["--url", "ws://x", "--", "--workers", "2"], "not for --url"),
        (["--url", "ws://x", "--pid", "999999999"], "there is no such process"),
        (["--html", "/nowhere/at/all.html"], "cannot be written"),
    ],
)
def test_wrong_flags_are_exit_code_2(
    flags: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line says what is wrong, before anything runs."""
    with pytest.raises(SystemExit, match="2"):
        main(["bench", *flags])
    told = capfd.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_server_that_does_not_come_up_is_exit_code_1(capfd: pytest.CaptureFixture[str]) -> None:
    """With what it said."""
    assert main([*SMALL, "--", "--processor", "no-such-processor"]) == 1
    assert "no-such-processor" in capfd.readouterr().err


def shown_commands() -> list[str]:
    """The lines of the page that a reader may type; too long to be run here."""
    page = (REPOSITORY / "docs/performance.md").read_text(encoding="utf-8")
    return re.findall(r"^    (mediaserver bench .*)$", page, re.MULTILINE)


@pytest.mark.parametrize("line", shown_commands())
def test_the_page_shows_flags_that_there_are(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each command of docs/performance.md gets as far as its server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "mediaserver.bench.own_server.serving", raiser := _Raises(NoServerError("as far as here"))
    )
    assert main(shlex.split(line)[1:]) == 1
    assert raiser.was_called


class _Raises:
    """Stands for a function, and raises."""

    def __init__(self, error: Exception) -> None:
        self.was_called = False
        self._error = error

    def __call__(self, *_: object) -> None:
        self.was_called = True
        raise self._error


def test_without_the_extra_it_says_what_to_install(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="2"):
        main(SMALL)
    assert "pip install 'mediaserver[bench]'" in capfd.readouterr().err
