"""The settings' secrets are known as such, and shown nowhere."""

from __future__ import annotations

from typing import Any

import msgspec

from mediaserver.settings import LOADER, SECRETS, ProcessorSetting, RouteSetting, Settings

WORDS = ("key", "token", "secret", "password")
# Public keys are public; names of files and of variables of the environment are no secrets.
NO_SECRETS = {"public_keys", "tls_key"}


def test_what_looks_like_a_secret_is_one() -> None:
    """By its name: whoever adds one is told here where it belongs."""
    looks = {
        field.name
        for field in msgspec.structs.fields(Settings)
        if any(field.name.endswith(word) or f"{word}_" in field.name for word in WORDS)
    }
    texts: dict[str, Any] = {name: Settings.__annotations__[name] for name in looks}
    values = {name for name, kind in texts.items() if "float" not in kind and "bool" not in kind}
    assert values - NO_SECRETS - {"start_without_token_s"} == {*SECRETS}
    assert LOADER.secrets == SECRETS


def test_the_repr_of_settings_has_no_secret() -> None:
    """Nor what a processor is given, a query of the URL, a number of a route; the rest is there."""
    settings = Settings(
        **dict.fromkeys(SECRETS, "KEY-canary"),
        port=0,
        public_url="https://example.com/a?token=canary",
        processors=(ProcessorSetting("bot", {"key": "canary"}, alias="b"),),
        routes=(RouteSetting(processors=(), to=("+13122010094",)),),
    )
    shown = repr(settings)
    assert "canary" not in shown
    assert "3122010094" not in shown
    assert "public_url='https://example.com/a'" in shown
    assert "port=0" in shown
    assert "ProcessorSetting('bot', key=…, alias='b')" in shown
    assert repr(Settings()) == "Settings()"


def test_hashes_are_the_same_in_all_processes_and_need_no_setting() -> None:
    """A key is made at the start; one that is set is taken. Other policies have none."""
    one, other = Settings(log_numbers="hash"), Settings(log_numbers="hash", port=0)
    assert one.numbers("+13122010094") == other.numbers("+13122010094")
    own = Settings(log_numbers="hash", log_numbers_key="mine")
    assert own.numbers("+13122010094") != one.numbers("+13122010094")
    assert own.numbers_key == "mine"
    assert Settings(log_numbers_key="mine").numbers_key is None
