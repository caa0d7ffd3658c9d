"""``mediaserver carrier``: the fake Telnyx as a command."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

import pytest

from mediaserver.cli.commands import carrier, control, webhook
from mediaserver.errors import ConfigurationError

KEY = "KEY-canary-of-the-command-line"


def run(*arguments: str) -> int:
    """One command line, as the entry point would run it."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    for module in (carrier, control, webhook):
        module.register(commands)
    args = parser.parse_args(arguments)
    code: int = args.run(args)
    return code


@pytest.mark.parametrize("key", [None, KEY])
def test_the_carrier_runs_alone_until_it_is_terminated(key: str | None) -> None:
    """``mediaserver carrier`` says where it is, answers, and ends with exit code 0."""
    code = (
        "import argparse; from mediaserver.cli.commands import carrier;"
        "p = argparse.ArgumentParser(); carrier.register(p.add_subparsers());"
        "a = p.parse_args(['carrier', '--port', '0', '--ring']); raise SystemExit(a.run(a))"
    )
    environment = {n: v for n, v in os.environ.items() if n != "TELNYX_API_KEY"}
    if key is not None:
        environment["TELNYX_API_KEY"] = key
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(6)]
    process.send_signal(signal.SIGTERM)
    rest = process.stdout.read()
    process.stdout.close()
    assert process.wait(20) == 0
    assert lines[0].startswith("base URL:   http://127.0.0.1:")
    assert "webhook call.initiated is not sent: there is no webhook URL" in lines[4]
    assert lines[5].startswith("call in:    v3:")
    assert "webhook call.hangup is not sent" in rest
    assert KEY not in "".join([*lines, rest])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "192.0.2.1"], "cannot listen"),
        (["--port", "70000"], "a whole number from 0 to 65535, not '70000'"),
        (["--webhook-copies", "0"], "a whole number of at least 1, not '0'"),
        (["--speech", "-1"], "a number of at least 0, not '-1'"),
        (["--webhook-ca", "no-such.pem"], "no-such.pem holds no certificate of an authority"),
        (["--webhook-ca", __file__], "test_carrier.py holds no certificate of an authority"),
    ],
)
def test_a_carrier_that_cannot_run_says_why(arguments: list[str], said: str) -> None:
    """An address that cannot be had is one clear line."""
    with pytest.raises(ConfigurationError, match=said):
        run("carrier", *arguments)
