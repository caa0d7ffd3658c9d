"""``mediaserver calls``: a table, one call whole, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.cli.commands.calls import _HEAD as HEAD
from mediaserver.cli.main import main
from mediaserver.history.records import HangUp, WebhookSeen
from mediaserver.history.stores import Limits
from mediaserver.history.writer import open_store
from mediaserver.settings import ProcessorSetting, Settings
from tests.history.made import record
from tests.server.watching import soon


@pytest.fixture
def history(tmp_path: Path) -> str:
    """A good call and a bad one, whose caller wanted to paint the terminal."""
    path = tmp_path / "calls.db"
    store = open_store(path, Limits(36500, 1 << 30))
    bad = record("v3:bad\x1b[31m", 1020.0, lost=300, hints={"no_marks": "nothing came back"})
    hang_up = HangUp("normal_clearing", "caller", "200", {"inbound": {"mos": 4.5}})
    seen = (WebhookSeen("call.hangup", 1021.0),)
    store.put([record("v3:good", processors=("a/b.py:bot", "echo"))])
    store.put([msgspec.structs.replace(bad, hang_up=hang_up, webhooks=seen)])
    store.close()
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints on stdout."""
    main(["calls", *arguments])
    return capsys.readouterr().out


def test_a_table(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest first, one line each; what came from outside paints nothing."""
    head, bad, good = said(capsys, "--history", history).splitlines()
    assert tuple(head.split()) == HEAD
    assert "one_way,loss" in bad
    assert bad.endswith(r"v3:bad\x1b[31m")
    assert "b.py:bot+echo" in good
    assert "v3:good" not in said(capsys, "--history", history, "--bad")
    assert "v3:good" not in said(capsys, "--history", history, "--bad", "loss")
    assert said(capsys, "--history", history, "--bad", "mute_bot") == ""
    assert said(capsys, "--history", history, "--last", "1h") == ""


def test_one_call_whole(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its troubles in words, what Telnyx said of its end, and all its figures."""
    whole = said(capsys, "--history", history, "--id", "v3:bad\x1b[31m").splitlines()
    assert "trouble   loss: 38 % of the audio lost" in whole
    assert "hint      no_marks: nothing came back" in whole
    assert "hang-up   cause normal_clearing, source caller, sip_cause 200" in whole
    assert "quality   inbound: mos 4.5" in whole
    assert [line for line in whole if line.startswith("webhook") and "call.hangup" in line]
    assert [line for line in whole if line.split() == ["lost", "300"]]
    assert main(["calls", "--history", history, "--id", "v3:none"]) == 1


def test_json_lines(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, as the admin page has it."""
    lines = said(capsys, "--history", history, "--json").splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["ended", "ended"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "there is no history: name its file by --history"),
        (["--history", "none.db"], "history none.db: there is no such file"),
        (["--history", "none.db", "--live"], "--live asks a running server"),
        (["--history", "none.db", "--last", "soon"], "--last is a length of time"),
        (["--history", "none.db", "--bad", "odd"], "--bad is true, or one of worker"),
        (["--url", "ftp://x"], "--url is the address of a server"),
        (["--url", "http://192.0.2.1"], "without encryption"),
        (["--url", "http://127.0.0.1:1"], "http://127.0.0.1:1 cannot be asked"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(["calls", *arguments])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


async def test_live_calls_of_a_running_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the address in the settings, or by ``--url``; without the token it says how."""
    settings = Settings(port=0, processors=(ProcessorSetting("echo"),), admin_token="right")
    async with MediaServer(settings) as server:
        port = str(server.service.port)
        async with FakeCall.connect(server.url, CallPlan(call_control_id="v3:live")):
            await soon(lambda: server.service.n_calls == 1)
            monkeypatch.setenv("MEDIASERVER_PORT", port)
            with pytest.raises(SystemExit):
                await asyncio.to_thread(main, ["calls", "--live"])
            assert "set admin_token (MEDIASERVER_ADMIN_TOKEN)" in capsys.readouterr().err
            monkeypatch.setenv("MEDIASERVER_ADMIN_TOKEN", "right")
            table = await asyncio.to_thread(said, capsys, "--live")
            assert table.splitlines()[1].split()[-1] == "v3:live"
            url = ("--url", f"http://127.0.0.1:{port}")
            whole = await asyncio.to_thread(said, capsys, *url, "--id", "v3:live")
            assert "state     live" in whole
            assert await asyncio.to_thread(main, ["calls", *url, "--id", "v3:none"]) == 1
