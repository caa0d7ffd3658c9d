"""``mediaserver webhook verify``: is a saved delivery Telnyx's?"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from mediaserver.cli.options import add_flags, loaded
from mediaserver.control.events import MalformedEventError, parse_event
from mediaserver.control.webhooks.signature import TIMESTAMP_HEADER, SignatureError, Verifier
from mediaserver.errors import ConfigurationError
from mediaserver.logs import shown
from mediaserver.settings import LOADER

KEY_VARIABLE = LOADER.aliases["public_keys"]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("webhook", help="look into webhooks")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    verify = actions.add_parser("verify", help="check the signature of a saved delivery")
    verify.add_argument("--body", type=Path, required=True, help="file with the exact bytes")
    verify.add_argument(
        "--headers",
        type=Path,
        required=True,
        help="'Name: value' lines, or a JSON object",
    )
    verify.add_argument(
        "--public-key", action="append", help=f"base64, may be repeated; default: ${KEY_VARIABLE}"
    )
    verify.add_argument("--tolerance", type=float, default=300.0, metavar="S", help="default: 300")
    verify.add_argument(
        "--any-age", action="store_true", help="judge it as of its own timestamp, however old"
    )
    add_flags(verify, LOADER, ())
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Say whether the delivery is good; 0 if so, 1 if not, 2 for wrong input."""
    keys = args.public_key or (loaded(LOADER, args).public_keys or "").split(",")
    keys = [key for key in keys if key.strip()]
    body, headers = _read(args.body), _headers(_read(args.headers))
    try:
        now = _timestamp(headers) if args.any_age else time.time()
        Verifier(keys, tolerance_s=args.tolerance).verify(headers, body, now)
        event = parse_event(body)
    except (SignatureError, MalformedEventError) as error:
        print(f"mediaserver: refused: {error}", file=sys.stderr)
        return 1
    print(f"good: {shown(event.event_type)} {shown(event.id)}")
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read") from error


def _headers(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Header pairs, repeated ones included."""
    if raw.lstrip().startswith(b"{"):
        try:
            pairs = json.loads(raw).items()
        except (ValueError, RecursionError) as error:
            raise ConfigurationError("the headers are neither lines nor JSON") from error
        # Lone surrogates too: JSON can hold them.
        return [
            (str(name).encode(errors="surrogatepass"), str(value).encode(errors="surrogatepass"))
            for name, value in pairs
        ]
    split = (line.partition(b":") for line in raw.splitlines() if b":" in line)
    return [(name.strip(), value.strip()) for name, _, value in split]


def _timestamp(headers: list[tuple[bytes, bytes]]) -> float:
    """When the delivery says it was signed; 0 if it says nothing, which is then refused."""
    for name, value in headers:
        if name.lower() == TIMESTAMP_HEADER.encode() and value.isdigit():
            return float(value)
    return 0.0
