"""What a server and its workers say: what the first message holds, and which version it is."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.observer import CallSummary, StreamRequest
from mediaserver.processes.messages import Failed, Heartbeat, Ready, Shutdown
from mediaserver.processors.builtin.echo import Echo
from mediaserver.server.handed_settings import HandedSettings
from mediaserver.server.workers import messages
from mediaserver.server.workers.messages import Setup
from mediaserver.settings import ProcessorSetting, RouteSetting, Settings
from mediaserver.tokens import Admission

# Every message as it goes over the channel in version 8. A change here wants a new VERSION.
VERSION = 8
REQUEST = StreamRequest("PCMU", 8000, "rtp", None, {"p": "v"}, "support", {"bot": "sales"})
SPOKEN: list[tuple[msgspec.Struct, dict[str, Any]]] = [
    (
        messages.HandOver(
            7,
            "c",
            Admission.PER_CALL,
            "/media",
            {"q": "v"},
            b"{}",
            {"binary": 2},
            b"\x81",
            True,
            0.25,
        ),
        {
            "type": "HandOver",
            "number": 7,
            "call_id": "c",
            "admission": "a per-call token",
            "path": "/media",
            "query": {"q": "v"},
            "start": b"{}",
            "violations": {"binary": 2},
            "behind": b"\x81",
            "has_ponged": True,
            "started_at": 0.25,
        },
    ),
    (
        messages.WebhookReported("c", "call.hangup", b"{}"),
        {"type": "WebhookReported", "call_id": "c", "event_type": "call.hangup", "event": b"{}"},
    ),
    (messages.Drain(), {"type": "Drain"}),
    (
        messages.Commanded(3, b"", b"{}"),
        {"type": "Commanded", "request": 3, "result": b"", "error": b"{}"},
    ),
    (messages.Claimed(7, True), {"type": "Claimed", "number": 7, "granted": True}),
    (Shutdown(hurry=True), {"type": "Shutdown", "hurry": True}),
    (
        messages.Query(4, "look", "v3:a"),
        {"type": "Query", "number": 4, "what": "look", "argument": "v3:a"},
    ),
    (messages.QueryAnswer(4, b"{}"), {"type": "QueryAnswer", "number": 4, "body": b"{}"}),
    (messages.Claim(7), {"type": "Claim", "number": 7}),
    (messages.HandedOver("c"), {"type": "HandedOver", "call_id": "c"}),
    (
        messages.CallOpened("c", REQUEST),
        {
            "type": "CallOpened",
            "call_id": "c",
            "request": {
                "send_codec": "PCMU",
                "send_rate": 8000,
                "send_mode": "rtp",
                "processor": None,
                "parameters": {"p": "v"},
                "path": "support",
                "matched": {"bot": "sales"},
            },
        },
    ),
    (messages.SocketLost("c"), {"type": "SocketLost", "call_id": "c"}),
    (
        messages.CallClosed(CallSummary(call_id="c", reason="stop", frames_in=3, lost=1), True),
        {
            "type": "CallClosed",
            "summary": {"call_id": "c", "reason": "stop", "frames_in": 3, "lost": 1},
            "over": True,
        },
    ),
    (
        messages.Load(2, 7, 4096, 1),
        {"type": "Load", "n_quiet": 2, "most_calls": 7, "host_bytes": 4096, "n_left": 1},
    ),
    (messages.SocketClosed(), {"type": "SocketClosed"}),
    (
        messages.Command(3, "c", "speak", b"\x90"),
        {
            "type": "Command",
            "request": 3,
            "call_id": "c",
            "method": "speak",
            "arguments": b"\x90",
        },
    ),
    (messages.Abandoned(3), {"type": "Abandoned", "request": 3}),
    (Ready(), {"type": "Ready"}),
    (Failed("why"), {"type": "Failed", "reason": "why"}),
    (
        Heartbeat({"calls": 1}, 0.5),
        {"type": "Heartbeat", "counts": {"calls": 1}, "lag_s": 0.5},
    ),
]


@pytest.mark.parametrize(
    ("message", "spoken"), SPOKEN, ids=[type(message).__name__ for message, _ in SPOKEN]
)
def test_a_message_is_what_its_version_says(message: msgspec.Struct, spoken: object) -> None:
    """Both ways; who changes one raises the version, and then this table."""
    assert messages.VERSION == VERSION
    encoded = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.decode(encoded) == spoken
    assert msgspec.msgpack.decode(encoded, type=type(message)) == message


def test_the_table_holds_every_message() -> None:
    """Of the unions that the two ends accept."""
    held = {type(message) for message, _ in SPOKEN}
    said = {*messages.ToWorker.__args__, *messages.FromWorker.__args__, Ready, Failed, Heartbeat}
    assert held == said


@dataclass(frozen=True)
class Voice:
    """A parameter that no settings file could hold."""

    path: Path
    gains: tuple[float, ...]


def test_settings_come_as_they_are_but_for_secrets() -> None:
    """Parameters of any Python value, a processor itself; no key, no token."""
    parameters = {"voice": Voice(Path("x"), (0.5, 1.0)), "names": {"a", "b"}}
    settings = Settings(
        processors=(ProcessorSetting("echo"), ProcessorSetting("say", parameters, ("voice",))),
        routes=(RouteSetting(path="a", processors=(ProcessorSetting(Echo, {"n": 1 << 70}),)),),
        offer=(ProcessorSetting("other", {"n": 1 << 80}, alias="o"), ProcessorSetting(Echo)),
        reconnect_grace_s=3,
        api_key="KEY-canary",
        auth_token="token-canary",
        admin_token="admin-canary",
        listen_token="listener-canary",
        public_keys="public-canary",
        workers=2,
        log_config={"formatters": {"f": {"()": Voice, "gains": (1.0,)}}},
    )
    sent = msgspec.msgpack.encode(Setup.of(1, settings, 0.5, has_client=True))
    assert b"canary" not in sent
    setup = msgspec.msgpack.decode(sent, type=Setup)
    assert (setup.index, setup.beat_s, setup.has_client) == (1, 0.5, True)
    gone = dict.fromkeys(("api_key", "auth_token", "admin_token", "listen_token", "public_keys"))
    assert setup.whole_settings() == msgspec.structs.replace(settings, **gone)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(processors=(ProcessorSetting("echo", {"f": lambda: None}),)),
        Settings(port=70_000),
        Settings(public_url="http://\udcff"),
        Settings(host=object()),  # type: ignore[arg-type]  # as a program may
    ],
    ids=["a function", "beyond its limits", "no text", "no type of ours"],
)
def test_settings_that_cannot_be_sent_are_refused(settings: Settings) -> None:
    """With a clear error, in the parent."""
    with pytest.raises(ConfigurationError, match="workers cannot be given these settings"):
        Setup.of(0, settings, 0.5)


def test_parameters_that_cannot_be_loaded_are_a_clear_error() -> None:
    """As where a class is of the parent's own main program."""
    pickled = pickle.dumps([("echo", {"voice": Voice(Path("x"), ())})]).replace(b"Voice", b"Vocal")
    echo = Settings(processors=(ProcessorSetting("echo"),))
    setup = Setup(0, 0.5, False, HandedSettings(echo, pickled, pickle.dumps(None)))
    with pytest.raises(ConfigurationError, match=r"parameters cannot be loaded: .*Vocal"):
        setup.whole_settings()


def test_a_log_config_that_cannot_be_loaded_is_a_clear_error() -> None:
    """As where a formatter's class is of the parent's own main program."""
    pickled = pickle.dumps({"formatters": {"f": {"()": Voice}}}).replace(b"Voice", b"Vocal")
    setup = Setup(0, 0.5, False, HandedSettings(Settings(), pickle.dumps([]), pickled))
    with pytest.raises(ConfigurationError, match="log_config cannot be loaded"):
        setup.log_config()
