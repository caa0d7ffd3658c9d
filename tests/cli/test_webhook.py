"""``mediaserver webhook verify``: a saved delivery, and what is wrong with one."""

from __future__ import annotations

import argparse
import base64
import json
import time
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from mediaserver.cli.commands import carrier, control, webhook
from mediaserver.errors import ConfigurationError

SIGNING = SigningKey(b"s" * 32)
PUBLIC = base64.b64encode(bytes(SIGNING.verify_key)).decode()
BODY = b'{"data":{"event_type":"streaming.started","id":"e1"}}'


def run(*arguments: str) -> int:
    """One command line, as the entry point would run it."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    for module in (carrier, control, webhook):
        module.register(commands)
    args = parser.parse_args(arguments)
    code: int = args.run(args)
    return code


def saved(folder: Path, at: int, body: bytes = BODY, as_json: bool = False) -> list[str]:
    """The arguments that name a delivery saved to files."""
    signature = base64.b64encode(SIGNING.sign(f"{at}|".encode() + body).signature).decode()
    named = {"Telnyx-Signature-Ed25519": signature, "Telnyx-Timestamp": str(at)}
    lines = "POST / HTTP/1.1\n" + "".join(f"{n}: {v}\r\n" for n, v in named.items())
    (folder / "headers").write_text(json.dumps(named) if as_json else lines)
    (folder / "body").write_bytes(body)
    return ["--body", str(folder / "body"), "--headers", str(folder / "headers")]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_saved_delivery_is_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """A genuine delivery is good, from lines or JSON, with the key as a flag."""
    files = saved(tmp_path, int(time.time()), as_json=as_json)
    assert run("webhook", "verify", *files, "--public-key", PUBLIC) == 0
    assert capsys.readouterr().out == "good: streaming.started e1\n"


def test_an_old_delivery_is_refused_unless_age_does_not_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Age counts by default; the key may come from the environment."""
    monkeypatch.setenv("TELNYX_PUBLIC_KEY", f"{PUBLIC},")
    files = saved(tmp_path, 1_600_000_000)
    assert run("webhook", "verify", *files) == 1
    assert capsys.readouterr().err == "mediaserver: refused: the timestamp is too far off\n"
    assert run("webhook", "verify", *files, "--any-age") == 0


def test_a_tampered_delivery_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed body, a missing header and a body that is no event are exit code 1."""
    files = saved(tmp_path, int(time.time()))
    (tmp_path / "body").write_bytes(BODY + b" ")
    assert run("webhook", "verify", *files, "--public-key", PUBLIC) == 1
    (tmp_path / "headers").write_text("a: b")
    assert run("webhook", "verify", *files, "--public-key", PUBLIC, "--any-age") == 1
    files = saved(tmp_path, int(time.time()), b"[]")
    assert run("webhook", "verify", *files, "--public-key", PUBLIC) == 1
    assert capsys.readouterr().err.count("refused") == 3


def test_a_delivery_of_version_1_says_what_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A saved webhook of version 1 cannot be checked, and the setting is named."""
    files = saved(tmp_path, int(time.time()))
    (tmp_path / "headers").write_text("X-Telnyx-Signature: 00")
    assert run("webhook", "verify", *files, "--public-key", PUBLIC) == 1
    assert "set webhook_api_version to 2" in capsys.readouterr().err


def test_wrong_input_to_verify_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key, no file and headers that are none are said."""
    monkeypatch.delenv("TELNYX_PUBLIC_KEY", raising=False)
    files = saved(tmp_path, int(time.time()))
    with pytest.raises(ConfigurationError, match="public key"):
        run("webhook", "verify", *files)
    for headers in ("{", '{"a":' * 5000):
        (tmp_path / "headers").write_text(headers)
        with pytest.raises(ConfigurationError, match="headers"):
            run("webhook", "verify", *files)
    (tmp_path / "body").unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run("webhook", "verify", *files)


def test_headers_of_any_characters_are_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lone surrogate in a JSON file is just another header."""
    files = saved(tmp_path, int(time.time()), as_json=True)
    named = json.loads((tmp_path / "headers").read_text())
    (tmp_path / "headers").write_text(json.dumps(named | {"\ud800": "\udfff"}))
    assert run("webhook", "verify", *files, "--public-key", PUBLIC) == 0
    assert capsys.readouterr().out == "good: streaming.started e1\n"
