from __future__ import annotations

import argparse
import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from mediaserver.cli.commands import carrier, control, webhook
from mediaserver.errors import ConfigurationError

KEY = "KEY-canary-of-the-command-line"
SIGNING = SigningKey(b"s" * 32)
PUBLIC = base64.b64encode(bytes(SIGNING.verify_key)).decode()
BODY = b'{"data":{"event_type":"streaming.started","id":"e1"}}'


class Telnyx:
    """A server that answers every command with one status and body."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        self.body: Any = {"data": {"result": "ok", "call_control_id": "v3:new"}}
        telnyx = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                telnyx.requests.append((self.path, json.loads(self.rfile.read(length))))
                self.send_response(telnyx.status)
                self.end_headers()
                self.wfile.write(json.dumps(telnyx.body).encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v2"


@pytest.fixture
def telnyx(monkeypatch: pytest.MonkeyPatch) -> Iterator[Telnyx]:
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    server = Telnyx()
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()
    thread.join()


def run(*arguments: str) -> int:
    """One command line, as the entry point would run it."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    for module in (carrier, control, webhook):
        module.register(commands)
    args = parser.parse_args(arguments)
    code: int = args.run(args)
    return code


COMMANDS: list[tuple[list[str], str, dict[str, Any]]] = [
    (["streaming-stop", "v3:a"], "streaming_stop", {}),
    (
        ["fork-start", "v3:a", "--rx", "udp:192.0.2.1:9", "--tx", "udp:192.0.2.1:10"],
        "fork_start",
        {"rx": "udp:192.0.2.1:9", "tx": "udp:192.0.2.1:10", "stream_type": "decrypted"},
    ),
    (["fork-stop", "v3:a", "--stream-type", "raw"], "fork_stop", {"stream_type": "raw"}),
    (
        [
            *("transcription-start", "v3:a", "--transcription-engine", "Azure"),
            *("--transcription-engine-config", '{"region": "westus2"}'),
        ],
        "transcription_start",
        {
            "transcription_engine": "Azure",
            "transcription_engine_config": {
                "transcription_engine": "Azure",
                "region": "westus2",
            },
        },
    ),
    (["transcription-stop", "v3:a"], "transcription_stop", {}),
    (["answer", "v3:a"], "answer", {}),
    (["hangup", "v3:a", "--client-state", "hi"], "hangup", {"client_state": "aGk="}),
    (
        ["speak", "v3:a", "--payload", "Hello", "--voice", "female", "--loop", "2"],
        "speak",
        {"payload": "Hello", "voice": "female", "loop": 2},
    ),
    (
        [
            *("playback-start", "v3:a", "--media-name", "hello", "--loop", "infinity"),
            *("--overlay", "--audio-type", "mp3"),
        ],
        "playback_start",
        {"media_name": "hello", "loop": "infinity", "overlay": True, "audio_type": "mp3"},
    ),
    (["playback-stop", "v3:a", "--stop", "all"], "playback_stop", {"stop": "all"}),
    (
        ["record-start", "v3:a", "--channels", "dual", "--format", "wav", "--max-length", "60"],
        "record_start",
        {"channels": "dual", "format": "wav", "max_length": 60},
    ),
    (["record-stop", "v3:a"], "record_stop", {}),
    (["record-pause", "v3:a", "--recording-id", "r"], "record_pause", {"recording_id": "r"}),
    (["record-resume", "v3:a"], "record_resume", {}),
    (["send-dtmf", "v3:a", "--digits", "12#"], "send_dtmf", {"digits": "12#"}),
    (
        [
            *("transfer", "v3:a", "--to", "+2", "--from", "+1", "--extra", '{"a": [1]}'),
            *("--custom-headers", '{"X-A": "b"}'),
        ],
        "transfer",
        {
            "to": "+2",
            "from": "+1",
            "a": [1],
            "custom_headers": [{"name": "X-A", "value": "b"}],
        },
    ),
    (["bridge", "v3:a", "v3:b"], "bridge", {"call_control_id": "v3:b"}),
    (
        ["gather-using-speak", "v3:a", "--payload", "Pin?", "--voice", "a", "--valid-digits", "1"],
        "gather_using_speak",
        {"payload": "Pin?", "voice": "a", "valid_digits": "1"},
    ),
    (
        ["suppression-start", "v3:a", "--direction", "both"],
        "suppression_start",
        {"direction": "both"},
    ),
    (["suppression-stop", "v3:a"], "suppression_stop", {}),
    (
        ["command", "v3:a", "reject", "--body", '{"cause": "USER_BUSY"}'],
        "reject",
        {"cause": "USER_BUSY"},
    ),
    (
        ["command", "v3:a", "leave_queue", "--client-state", "hi"],
        "leave_queue",
        {"client_state": "aGk="},
    ),
    (
        [
            *("streaming-start", "v3:a", "--stream-url", "wss://a/media"),
            *("--stream-bidirectional-codec", "L16"),
            *("--stream-bidirectional-sampling-rate", "24000"),
            *("--processor", "bot", "--param", "voice=amy=1", "--custom", "customer=7"),
        ],
        "streaming_start",
        {
            "stream_url": "wss://a/media",
            "stream_bidirectional_mode": "rtp",
            "stream_bidirectional_codec": "L16",
            "stream_bidirectional_sampling_rate": 24000,
            "stream_bidirectional_target_legs": "self",
            "custom_parameters": [
                {"name": "customer", "value": "7"},
                {"name": "send_codec", "value": "L16"},
                {"name": "send_rate", "value": "24000"},
                {"name": "processor", "value": "bot"},
                {"name": "param_voice", "value": "amy=1"},
            ],
        },
    ),
]


@pytest.mark.parametrize(("arguments", "action", "body"), COMMANDS)
def test_each_action_can_be_typed(
    telnyx: Telnyx,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    action: str,
    body: dict[str, Any],
) -> None:
    """What is typed becomes the documented request, and the result is printed."""
    code = run("control", *arguments, "--api-base-url", telnyx.url, "--command-id", "c1")
    assert code == 0
    assert telnyx.requests == [(f"/v2/calls/v3%3Aa/actions/{action}", body | {"command_id": "c1"})]
    assert capsys.readouterr().out == "command_id: c1\nresult: ok\nwas_already_so: False\n"


def test_dial_prints_the_call(telnyx: Telnyx, capsys: pytest.CaptureFixture[str]) -> None:
    """Dialling prints the new call's id, as JSON if asked for."""
    ends = ("--connection-id", "c", "--from", "+1", "--to", "+2", "--command-id", "c1")
    public = ("--public-url", "https://media.example.com", "--stream", "--auth-token", "S")
    assert run("control", "dial", *ends, *public, "--api-base-url", telnyx.url, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "call_control_id": "v3:new",
        "call_leg_id": None,
        "call_session_id": None,
        "command_id": "c1",
    }
    _, body = telnyx.requests[0]
    assert body["stream_url"].startswith("wss://media.example.com/media?")
    assert "stream_auth_token" in body


def test_several_numbers_can_be_dialled(telnyx: Telnyx) -> None:
    """``--to`` given twice is a list; the documented fields have flags."""
    ends = ("--connection-id", "c", "--from", "+1", "--to", "+2", "--to", "+3")
    more = ("--timeout-secs", "40", "--answering-machine-detection", "detect", "--bridge-intent")
    to = ("--api-base-url", telnyx.url, "--command-id", "c")
    assert run("control", "dial", *ends, *more, *to) == 0
    assert telnyx.requests[0][1] == {
        "connection_id": "c",
        "from": "+1",
        "to": ["+2", "+3"],
        "timeout_secs": 40,
        "answering_machine_detection": "detect",
        "bridge_intent": True,
        "command_id": "c",
    }


@pytest.mark.parametrize("as_json", [True, False])
def test_a_refusal_is_exit_code_1(
    telnyx: Telnyx, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """What Telnyx refuses is said in one line, with its code, and never with the key."""
    telnyx.status = 422
    detail = f"no good with {KEY}"
    telnyx.body = {"errors": [{"code": "90034", "title": "Not answered", "detail": detail}]}
    flags = ["--json"] if as_json else []
    assert run("control", "hangup", "v3:a", "--api-base-url", telnyx.url, *flags) == 1
    out, err = capsys.readouterr()
    assert err == "mediaserver: HTTP 422 code 90034 Not answered: no good with [redacted]\n"
    assert (json.loads(out)["code"] == "90034") if as_json else (out == "")
    assert KEY not in out + err


def test_no_answer_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is not there is an error of the network, after the deadline."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    url = ("--api-base-url", "http://127.0.0.1:1/v2", "--deadline", "0.2", "--json")
    assert run("control", "hangup", "v3:a", *url) == 1
    out, err = capsys.readouterr()
    assert "no answer" in err
    assert json.loads(out)["error"] in ("NetworkError", "CommandTimeoutError")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["streaming-start", "v3:a"], "stream_url"),
        (["streaming-start", "v3:a", "--stream-url", "ws://a/b"], "wss://"),
        (["streaming-start", "v3:a", "--stream-url", "wss://a", "--param", "x"], "NAME=VALUE"),
        (["fork-start", "v3:a"], "rx"),
        (["transcription-start", "v3:a", "--transcription-engine-config", "{"], "not JSON"),
        (["hangup", "v3:a", "--api-base-url", "http://a.example"], "base_url"),
        (["speak", "v3:a", "--payload", "a", "--voice", "b", "--extra", "{"], "--extra is not"),
        (["command", "v3:a", "refer", "--body", "[1]"], "must be an object"),
        (["command", "v3:a", "refer", "--body", "{"], "--body is not JSON"),
        (["command", "v3:a", "refer", "--body", "[" * 5000], "--body is not JSON"),
        (["hangup", "v3:a", "--api-key-file", "/nowhere"], "cannot be read"),
        (["hangup", ".."], "call_control_id"),
        (["hangup", "v3:a", "--deadline", "0"], "--deadline"),
    ],
)
def test_wrong_input_is_one_clear_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Input that cannot be right is a configuration error, which the entry point makes exit 2."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    with pytest.raises(ConfigurationError, match=said) as caught:
        run("control", *arguments)
    assert "\n" not in str(caught.value)


def test_a_wrong_choice_names_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """A value that is not among the allowed ones is refused by the parser."""
    with pytest.raises(SystemExit) as caught:
        run("control", "streaming-start", "v3:a", "--stream-bidirectional-codec", "pcmu")
    assert caught.value.code == 2
    assert "AMR-WB" in capsys.readouterr().err


def test_without_a_key_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key comes from the environment or a file, and its absence is said."""
    monkeypatch.delenv("TELNYX_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="TELNYX_API_KEY"):
        run("control", "hangup", "v3:a")


def test_the_key_may_come_from_a_file(telnyx: Telnyx, tmp_path: Path) -> None:
    """A file with the key and a line end will do."""
    (tmp_path / "key").write_text("KEY2\n")
    code = run(
        *("control", "hangup", "v3:a", "--api-base-url", telnyx.url),
        *("--api-key-file", str(tmp_path / "key")),
    )
    assert code == 0


SOURCES = ("environment", "file", "file of the environment")


@pytest.mark.parametrize("source", SOURCES)
def test_all_settings_come_from_environment_and_file(
    telnyx: Telnyx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Address, key, public URL and token are read where the server reads them."""
    monkeypatch.delenv("TELNYX_API_KEY")
    given = {
        "api_base_url": telnyx.url,
        "api_key": KEY,
        "public_url": "https://media.example.com",
        "auth_token": "canary",
    }
    config = tmp_path / "settings.toml"
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items()))
    flags = ["--config", str(config)] if source == "file" else []
    if source == "environment":
        for name, value in given.items():
            monkeypatch.setenv(f"MEDIASERVER_{name.upper()}", value)
    elif not flags:
        monkeypatch.setenv("MEDIASERVER_CONFIG", str(config))
    assert run("control", "streaming-start", "v3:a", *flags) == 0
    ((path, body),) = telnyx.requests
    assert path == "/v2/calls/v3%3Aa/actions/streaming_start"
    assert body["stream_url"] == "wss://media.example.com/media"
    assert body["stream_auth_token"].startswith("t1.")
