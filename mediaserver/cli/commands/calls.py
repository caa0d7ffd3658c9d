"""``mediaserver calls``: calls that have ended, and live ones; which were bad, and why."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from mediaserver.cli.options import loaded
from mediaserver.errors import ConfigurationError
from mediaserver.history.asking import WrongQuestionError, query_of
from mediaserver.history.stores import DEFAULT_LIMIT
from mediaserver.history.writer import read_history
from mediaserver.logs import shown
from mediaserver.observer import TROUBLES
from mediaserver.settings import LOADER, Settings

ANSWER_WITHIN_S = 10.0
_HEAD = ("began", "lasted", "from", "to", "codecs", "processors", "state", "trouble", "id")
Call = dict[str, Any]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("calls", help="calls that have ended, and live ones")
    parser.add_argument("--live", action="store_true", help="live ones, of a running server")
    parser.add_argument("--last", metavar="TIME", help="that ended in the last 90s, 15m, 1h, 7d")
    parser.add_argument(
        "--bad",
        nargs="?",
        const="yes",
        metavar="TROUBLE",
        help=f"bad calls only, or those with this trouble: {', '.join(TROUBLES)}",
    )
    parser.add_argument("--id", metavar="ID", help="this call, with all its details")
    parser.add_argument(
        "--limit", default=str(DEFAULT_LIMIT), metavar="N", help="at most so many (default: 100)"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object a line")
    parser.add_argument(
        "--history", metavar="FILE", help="read this file; default: that of the settings"
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="ask a running server; URL is that of its admin pages; with --live its default is from"
        " the settings; the token is the setting admin_token",
    )
    parser.add_argument("--config", type=Path, metavar="F.toml", help="settings by their names")
    parser.set_defaults(run=run, set_by_flags=("history",))


def run(args: argparse.Namespace) -> int:
    """A table, or one call whole; exit code 1 if the call with ``--id`` is not known."""
    settings = loaded(LOADER, args)
    try:
        asks_server = args.url is not None or (args.live and args.history is None)
        calls = _asked(args, settings) if asks_server else _read(args, settings)
    except WrongQuestionError as exc:
        raise ConfigurationError(f"--{exc}") from exc
    if args.json:
        for call in calls:
            print(json.dumps(call))
    elif args.id is None:
        _print_table(calls)
    else:
        for call in calls:
            for line in whole(call):
                print(line)
    if args.id is not None and not calls:
        print(f"mediaserver: there is no call {shown(args.id)}", file=sys.stderr)
        return 1
    return 0


def _read(args: argparse.Namespace, settings: Settings) -> list[Call]:
    """Ended calls, from the file."""
    if args.live:
        raise ConfigurationError("--live asks a running server: leave out --history")
    if settings.history is None:
        raise ConfigurationError(
            "there is no history: name its file by --history or the setting history, or ask a"
            " server by --url"
        )
    query = msgspec.structs.replace(query_of(_chosen(args)), call_id=args.id)
    records = read_history(Path(settings.history), query)
    return [{"state": "ended", **json.loads(record.encode())} for record in records]


def _asked(args: argparse.Namespace, settings: Settings) -> list[Call]:
    """Calls as a running server tells them."""
    base = (args.url or _own_url(settings)).rstrip("/")
    _check(base, settings)
    token = settings.admin_token
    asked = _chosen(args)
    query_of(asked)  # the server would refuse it as well, and later
    if args.id is not None:
        path, asked = f"/calls/{quote(args.id, safe='')}", {}
    else:
        path = "/calls"
        if args.live:
            asked = {**asked, "live": "true"}
    try:
        answer = httpx.get(
            f"{base}{path}",
            params=asked,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=ANSWER_WITHIN_S,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise ConfigurationError(f"{base} cannot be asked: {exc}") from exc
    return _calls_in(answer, base, args.id)


def _calls_in(answer: httpx.Response, base: str, call_id: str | None) -> list[Call]:
    """The calls of an answer.

    Raises:
        ConfigurationError: it is none.
    """
    told: Any = None
    if answer.headers.get("content-type", "").startswith("application/json"):
        told = json.loads(answer.content)
    if answer.status_code == 404 and isinstance(told, dict):
        return []
    if answer.status_code != 200 or not isinstance(told, dict):
        why = {
            401: "it wants the admin token: set admin_token (MEDIASERVER_ADMIN_TOKEN)",
            404: "there are no admin pages: they need admin_token or admin_port",
        }.get(answer.status_code, f"{answer.status_code} {shown(told or answer.text, 200)}")
        raise ConfigurationError(f"{base} does not tell its calls: {why}")
    found: list[Call] = told["calls"] if call_id is None else [told]
    return found


def _own_url(settings: Settings) -> str:
    """Where the settings say that the admin pages are."""
    if settings.admin_port is not None:
        host, port = settings.admin_host, settings.admin_port
    else:
        host, port = settings.host, settings.port
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check(base: str, settings: Settings) -> None:
    """Refuse to send the token over a network as it is.

    Raises:
        ConfigurationError: no address of a server, or one without encryption elsewhere.
    """
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("--url is the address of a server, http://HOST:PORT")
    is_here = parts.hostname in ("localhost", "::1") or parts.hostname.startswith("127.")
    if not (parts.scheme == "https" or is_here or settings.allow_insecure):
        raise ConfigurationError(
            "--url goes to another machine without encryption: use https, or set allow_insecure"
        )


def _chosen(args: argparse.Namespace) -> dict[str, str]:
    given = {"last": args.last, "bad": args.bad, "limit": args.limit}
    return {name: value for name, value in given.items() if value is not None}


# What is printed. Texts came from outside: they are shown, not written as they are.


def _print_table(calls: Sequence[Call]) -> None:
    if not calls:
        print("no such calls", file=sys.stderr)
        return
    rows = [_HEAD, *map(row, calls)]
    widths = [max(len(r[column]) for r in rows) for column in range(len(_HEAD))]
    for each in rows:
        print(
            "  ".join(text.ljust(width) for text, width in zip(each, widths, strict=True)).strip()
        )


def row(call: Call) -> tuple[str, ...]:
    """One line of the table."""
    summary: Call = call["summary"]
    codec, goes = summary.get("codec", ""), summary.get("send_codec", "")
    return (
        _time(summary.get("started_at")),
        f"{summary.get('duration_s', 0.0):.0f} s",
        shown(summary.get("caller") or "-", 20),
        shown(summary.get("callee") or "-", 20),
        codec if codec == goes else f"{codec or '?'}/{goes or '?'}",
        shown("+".join(map(_short, summary.get("processors", ()))) or "-", 40),
        summary["reason"] if call["state"] == "ended" else call["state"],
        ",".join(call.get("bad", ())) or "-",
        shown(summary["call_id"], 200),
    )


def whole(call: Call) -> Iterator[str]:
    """All that is known of one call, a line each."""
    summary: Call = dict(call["summary"])
    yield f"call      {shown(summary.pop('call_id'), 200)}"
    yield f"state     {call['state']}"
    yield f"began     {_time(summary.pop('started_at', None))}"
    if "ended_at" in call:
        yield f"ended     {_time(call['ended_at'])}"
    for name, text in call.get("bad", {}).items():
        yield f"trouble   {name}: {shown(text, 300)}"
    for name, text in summary.pop("hints", {}).items():
        yield f"hint      {shown(name)}: {shown(text, 300)}"
    yield from _hang_up(call.get("hang_up") or {})
    for webhook in call.get("webhooks", ()):
        yield f"webhook   {_time(webhook['at'])} {shown(webhook['type'])}"
    for name, value in summary.items():
        if value in (0, "", [], {}, None):
            continue
        yield f"{name:<20} {_value(value)}"


def _hang_up(hang_up: Mapping[str, Any]) -> Iterator[str]:
    said = [
        f"{name} {shown(hang_up[name])}"
        for name in ("cause", "source", "sip_cause")
        if hang_up.get(name)
    ]
    if said:
        yield f"hang-up   {', '.join(said)}"
    for way, figures in hang_up.get("quality", {}).items():
        if figures:
            yield f"quality   {way}: {_value(figures)}"


def _short(processor: str) -> str:
    """A processor's name, without the folders of its file."""
    return processor.rpartition("/")[2]


def _value(value: Any) -> str:
    match value:
        case float():
            return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
        case dict():
            return ", ".join(f"{shown(name)} {_value(each)}" for name, each in value.items())
        case list():
            return ", ".join(map(_value, value))
    return shown(value, 200)


def _time(at: float | None) -> str:
    """A moment in this machine's time zone."""
    if not at:
        return "-"
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
