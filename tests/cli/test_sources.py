"""Each command reads its settings from flags, environment and file, in that order."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mediaserver.cli import main
from mediaserver.settings import load


class Case(NamedTuple):
    """A command that ends at once, and a setting of it as each source writes it."""

    command: list[str]
    flag: str
    variable: str
    table: str
    key: str
    bad: Any
    refused: str
    good: Any
    accepted: str


CASES = {
    "serve": Case(
        ["serve", "--answer"],
        *("--public-url", "MEDIASERVER_PUBLIC_URL", "", "public_url"),
        "http://media.example.com",
        "mediaserver: wrong setting public_url: it must be a https:// URL"
        " (http:// to loopback, or with allow_insecure)",
        "https://media.example.com",
        "mediaserver: answer needs api_key, public_keys and public_url",
    ),
    "control": Case(
        ["control", "fork-start", "v3:a"],
        *("--api-base-url", "MEDIASERVER_API_BASE_URL", "", "api_base_url"),
        "http://api.example.com/v2",
        "mediaserver: wrong setting api_base_url: it must be a https:// URL"
        " (http:// to loopback, or with allow_insecure)",
        "https://api.example.com/v2",
        "mediaserver: rx: must be given",
    ),
    "carrier": Case(
        ["carrier", "--host", "192.0.2.1"],
        *("--port", "MEDIASERVER_CARRIER_PORT", "[carrier]\n", "port"),
        70000,
        "mediaserver: wrong setting port (",
        0,
        "mediaserver: cannot listen on 192.0.2.1:0",
    ),
}
SOURCES = ("flag", "environment", "file")


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a refused command prints."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1), err
    return err.removesuffix("\n")


def write(
    case: Case, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Write the setting into each of these sources; the command line that reads them."""
    command = list(case.command)
    if "flag" in given:
        command += [case.flag, str(given["flag"])]
    if "environment" in given:
        monkeypatch.setenv(case.variable, str(given["environment"]))
    if "file" in given:
        config = tmp_path / "settings.toml"
        config.write_text(f"{case.table}{case.key} = {json.dumps(given['file'])}\n")
        command += ["--config", str(config)]
    return command


@pytest.fixture(autouse=True)
def a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELNYX_API_KEY", "KEY-canary")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("source", SOURCES)
def test_each_command_reads_each_source(
    name: str,
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A value that cannot be used is refused wherever it is written."""
    case = CASES[name]
    command = write(case, {source: case.bad}, tmp_path, monkeypatch)
    assert complaint(capsys, *command).startswith(case.refused)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("strong", "weak"), list(itertools.combinations(SOURCES, 2)))
@pytest.mark.parametrize("bad", ["strong", "weak"])
def test_flags_go_over_environment_and_environment_over_file(
    name: str,
    strong: str,
    weak: str,
    bad: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two sources the stronger one counts, and the other one is not even looked at."""
    case = CASES[name]
    values = (case.bad, case.good) if bad == "strong" else (case.good, case.bad)
    command = write(case, dict(zip((strong, weak), values, strict=True)), tmp_path, monkeypatch)
    line = case.refused if bad == "strong" else case.accepted
    assert complaint(capsys, *command).startswith(line)


@pytest.mark.parametrize("name", CASES)
def test_the_environment_may_name_the_file(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """MEDIASERVER_CONFIG is as good as --config, which goes over it."""
    case = CASES[name]
    *command, flag, config = write(case, {"file": case.bad}, tmp_path, monkeypatch)
    assert flag == "--config"
    monkeypatch.setenv("MEDIASERVER_CONFIG", config)
    assert complaint(capsys, *command).startswith(case.refused)
    other = tmp_path / "other.toml"
    other.write_text("")
    monkeypatch.setenv(case.variable, str(case.good))
    assert complaint(capsys, *command, "--config", str(other)).startswith(case.accepted)


def test_server_and_carrier_share_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each takes its own keys and leaves the other's alone."""
    config = tmp_path / "settings.toml"
    config.write_text('port = 70000\n[carrier]\nport = 0\nhost = "192.0.2.1"\n')
    carrier = complaint(capsys, "carrier", "--config", str(config))
    assert carrier.startswith("mediaserver: cannot listen on 192.0.2.1:0")
    config.write_text("port = 1234\n[carrier]\nport = 70000\n")
    assert load({}, {}, config).port == 1234


def test_a_simulated_call_takes_the_servers_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MEDIASERVER_AUTH_TOKEN stands in for --token; an empty one is none."""
    import argparse

    from mediaserver.cli.commands import simulate

    parser = argparse.ArgumentParser()
    simulate.register(parser.add_subparsers())

    def token(*flags: str) -> str | None:
        url = ("--url", "ws://127.0.0.1/media")
        return simulate.plan_of(parser.parse_args(["simulate", *url, *flags])).token

    monkeypatch.setenv("MEDIASERVER_AUTH_TOKEN", "canary")
    assert token() == "canary"
    assert token("--token", "of the flag") == "of the flag"
    monkeypatch.setenv("MEDIASERVER_AUTH_TOKEN", "")
    assert token() is None
