"""Settings: flags over environment over TOML file over defaults."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from mediaserver.errors import ConfigurationError

NonNegative = Annotated[float, Meta(ge=0)]

ENV_PREFIX = "MEDIASERVER_"
# Telnyx's own names for the two values its portal hands out.
_ENV_ALIASES = {"api_key": "TELNYX_API_KEY", "public_keys": "TELNYX_PUBLIC_KEY"}


class ProcessorSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One processor of the chain.

    Attributes:
        name: built-in, entry point, ``module:attribute`` or ``file.py:attribute``.
        parameters: its typed parameters.
        allow: parameters that a call may set as custom parameter ``param_<name>``.
        alias: what a call selects it by; ``name`` if empty.
    """

    name: str
    parameters: dict[str, Any] = {}
    allow: tuple[str, ...] = ()
    alias: str = ""

    @classmethod
    def parse(cls, text: str) -> ProcessorSetting:
        """From a flag: ``NAME`` or ``NAME?parameter=value&parameter=value``."""
        name, _, query = text.partition("?")
        return cls(name, dict(parse_qsl(query, keep_blank_values=True)))


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set.

    Attributes:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        public_url: how Telnyx reaches this server, ``https://…``.
        processors: the chain of every call that does not select one itself.
        offer: processors that a call may select by name, beside those of the chain.
        send_codec: codec of what goes into the call, unless the call says otherwise.
        send_rate: its rate in Hz; None is the codec's default.
        send_mode: ``rtp``, or ``mp3`` for whole files; as the stream was started.
        l16_byte_order: ``little``, ``big`` or ``auto``.
        amr_packing: how AMR-WB payloads are packed, or ``auto``.
        chunk_numbering: whether chunk numbers count ``per_track``, ``shared``, or ``auto``.
        reorder_wait_ms: how long a gap may wait for its chunk; 0 waits for none.
        lead_ms: how far ahead of the caller's ear audio is sent; None: at once.
        backlog_ms: most delay of live audio; what is older is dropped.
        poll_ms: how often arrivals are looked at while many come, which saves much work and
            delays them a little; 0 handles each by itself.
        keepalive: send silence while nothing plays.
        workers: processes that carry the calls; 1: the server itself does.
        auth_token: what a stream must present; None admits all.
        max_calls: calls at once; more get 503.
        connected_within_s: time from the upgrade to ``connected``.
        start_within_s: time from there to ``start``, where the auth token was right: a call that
            is dialled with a stream rings all the while, up to 600 s.
        start_without_token_s: the same where no ``auth_token`` is set, so that nobody holds
            sockets for long; where calls ring longer, set it higher.
        reconnect_grace_s: how long a call outlives its lost socket.
        handler_grace_s: how long handlers may run after their call.
        drain_s: how long live calls may go on after SIGTERM; None: to their end.
        on_error: a processor that raised is bypassed (``bypass``) or ends its call (``end``).
        on_return: a call whose handlers have all returned goes on (``stay``) or is
            hung up (``hangup``).
        api_key: Telnyx API key for the control client.
        api_base_url: where the control client sends its commands.
        public_keys: Telnyx's public keys for webhooks, comma-separated for rotation.
        answer: answer incoming calls with a stream to this server.
        auto_restart: start a stream again that broke without anybody having stopped it.
        allow_insecure: let plain http and ws leave this machine.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    public_url: str | None = None
    processors: tuple[ProcessorSetting, ...] = ()
    offer: tuple[ProcessorSetting, ...] = ()
    send_codec: str = "PCMU"
    send_rate: Annotated[int, Meta(ge=8000, le=48000)] | None = None
    send_mode: Literal["rtp", "mp3"] = "rtp"
    l16_byte_order: Literal["little", "big", "auto"] = "little"
    amr_packing: Literal["auto", "be", "oa", "storage"] = "auto"
    chunk_numbering: Literal["auto", "per_track", "shared"] = "auto"
    reorder_wait_ms: NonNegative = 60.0
    lead_ms: NonNegative | None = 200.0
    backlog_ms: NonNegative = 200.0
    poll_ms: Annotated[float, Meta(ge=0, le=10)] = 2.0
    keepalive: bool = False
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    auth_token: Annotated[str, Meta(min_length=1, max_length=4000)] | None = None
    max_calls: Annotated[int, Meta(ge=1)] = 1000
    connected_within_s: Annotated[float, Meta(gt=0)] = 10.0
    start_within_s: Annotated[float, Meta(gt=0)] = 660.0
    start_without_token_s: Annotated[float, Meta(gt=0)] = 30.0
    reconnect_grace_s: NonNegative = 10.0
    handler_grace_s: NonNegative = 5.0
    drain_s: NonNegative | None = None
    on_error: Literal["bypass", "end"] = "bypass"
    on_return: Literal["stay", "hangup"] = "stay"
    api_key: str | None = None
    api_base_url: str = "https://api.telnyx.com/v2"
    public_keys: str | None = None
    answer: bool = False
    auto_restart: bool = False
    allow_insecure: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def ringing_limit_s(self) -> float:
        """Time from ``connected`` to ``start``, with or without an auth token."""
        return self.start_without_token_s if self.auth_token is None else self.start_within_s


def meanings() -> dict[str, str]:
    """What the docstring of ``Settings`` says of each setting: its help, in one line."""
    text = (inspect.getdoc(Settings) or "").partition("Attributes:")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", said).rstrip(".") for name, said in found}


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], config: Path | None = None
) -> Settings:
    """Settings from all their sources.

    Args:
        flags: by field name; None means not given.
        environment: usually ``os.environ``.
        config: a TOML file whose keys are the field names.

    Raises:
        ConfigurationError: an unreadable file, an unknown key, a wrong value.
    """
    values = _from_file(config) if config is not None else {}
    values.update(_from_environment(environment))
    values.update({name: value for name, value in flags.items() if value is not None})
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as exc:
        raise ConfigurationError(f"wrong setting: {exc}") from exc


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as exc:
        raise ConfigurationError(f"cannot read {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path}: {exc}") from exc


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in Settings.__struct_fields__:
        alias = _ENV_ALIASES.get(name, "")
        given = environment.get(ENV_PREFIX + name.upper(), environment.get(alias, ""))
        if not given:
            continue
        if name in ("processors", "offer"):
            values[name] = [ProcessorSetting.parse(part) for part in given.split(",")]
        else:
            values[name] = given
    return values
