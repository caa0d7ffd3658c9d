"""``mediaserver cluster``: many machines as one, on Ray."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mediaserver.app import run_process, set_up_logging
from mediaserver.cli.commands.serve import FLAGS
from mediaserver.cli.options import add_flags, add_key_file, settings_of
from mediaserver.errors import ConfigurationError
from mediaserver.settings import LOADER, Settings

Tell = Callable[[str], None]
ADDRESS = "auto"
SOCKET = "mediaserver-{name}.sock"
"""In the folder of this user's running programs, or else in that for temporary files."""
MISSING = "`mediaserver cluster` needs Ray: pip install 'mediaserver[cluster]'"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("cluster", help="many machines as one, on Ray")
    words = parser.add_subparsers(
        dest="word", required=False, metavar="WORD", parser_class=type(parser)
    )
    parser.set_defaults(run=_checked(_name_a_word))
    _agent(words.add_parser("agent", help="join a machine and its media server to the cluster"))
    _serve(words.add_parser("serve", help="run a media server that an agent can adopt"))
    _status(words.add_parser("status", help="the nodes, their calls, how many nodes are wanted"))
    _drain(words.add_parser("drain", help="let a node take no new calls"))
    _roll(words.add_parser("roll", help="start all nodes' media servers anew, one by one"))
    _place(words.add_parser("place", help="a place for a call that you dial"))
    demo = words.add_parser("demo", help="three nodes on this machine, one of which is killed")
    demo.add_argument("--calls", type=int, default=12, help="how many calls (12)")
    demo.set_defaults(run=_checked(_telling(_run_demo)))


def _name_a_word(_: argparse.Namespace) -> int:
    raise ConfigurationError("which word? (see mediaserver cluster --help)")


def _checked(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The same, where Ray is installed."""

    def checked(args: argparse.Namespace) -> int:
        if importlib.util.find_spec("ray") is None:
            raise ConfigurationError(MISSING)
        return run(args)

    return checked


@contextlib.contextmanager
def own_stdout() -> Iterator[Tell]:
    """What writes a line to stdout; all else that Ray and its processes write is on stderr.

    Ray prints what befalls the cluster, such as a node's death, in the process that joined it.
    """
    sys.stdout.flush()
    with open(os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding) as own:
        os.dup2(2, 1)
        try:
            yield lambda line: print(line, file=own)
        finally:
            sys.stdout.flush()
            os.dup2(own.fileno(), 1)


def _telling(run: Callable[[argparse.Namespace, Tell], int]) -> Callable[[argparse.Namespace], int]:
    """The same, with stdout for what it tells alone."""

    def telling(args: argparse.Namespace) -> int:
        with own_stdout() as tell:
            return run(args, tell)

    return telling


def _asks(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser.add_argument("--address", default=ADDRESS, help="of Ray's head, HOST:PORT (auto)")
    parser.set_defaults(run=_checked(run))
    return parser


def _named(parser: argparse.ArgumentParser) -> None:
    text = "of this node, unique in the cluster: letters, digits, - _ ."
    parser.add_argument("--name", required=True, type=_node_name, help=text)
    where = "in XDG_RUNTIME_DIR, or in the folder for temporary files"
    parser.add_argument("--socket", metavar="PATH", help=f"Unix socket ({SOCKET} {where})")


def _node_name(text: str) -> str:
    """It is part of a file's name, and of a resource's in Ray."""
    if not re.fullmatch(r"[\w.-]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"a node's name has letters, digits, - _ . only: {text!r}")
    return text


def _socket(args: argparse.Namespace) -> str:
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return args.socket or str(folder / SOCKET.format(name=args.name))


def _serve(parser: argparse.ArgumentParser) -> None:
    _named(parser)
    parser.add_argument("--zone", default="", help="where this node is")
    parser.add_argument("--label", action="append", default=[], help="what this node has")
    parser.add_argument("--processor", action="append", metavar="NAME", help="as in `serve`")
    parser.add_argument("--offer", action="append", metavar="NAME", help="as in `serve`")
    add_flags(parser, LOADER, FLAGS)
    add_key_file(parser)
    parser.set_defaults(run=_checked(_run_serve))


def _run_serve(args: argparse.Namespace) -> int:
    from mediaserver.cluster.node.serving import node_of, serve

    settings = settings_of(args, processors=args.processor, offer=args.offer)
    node = node_of(settings, args.name, args.zone, args.label)
    set_up_logging(settings)
    run_process(serve(settings, node, _socket(args), _say_ready))
    return 0


def _say_ready(url: str) -> None:
    print(f"mediaserver ready on {url}", file=sys.stderr, flush=True)


def _agent(parser: argparse.ArgumentParser) -> None:
    _named(parser)
    _asks(parser, _run_agent)
    parser.add_argument(
        "serve",
        nargs="*",
        metavar="-- FLAG",
        help="flags of `cluster serve`: the media server is started if none runs; without"
        " any, it is only adopted",
    )


def _run_agent(args: argparse.Namespace) -> int:
    from mediaserver.cluster.node.serving import Keeper

    command = []
    if args.serve:
        own = ["cluster", "serve", "--name", args.name, "--socket", _socket(args)]
        command = [sys.executable, "-m", "mediaserver", *own, *args.serve]
    set_up_logging(Settings())
    Keeper(args.name, _socket(args), args.address, command).keep()
    return 0


def _status(parser: argparse.ArgumentParser) -> None:
    _asks(parser, _telling(_run_status))
    parser.add_argument("--buffer", type=int, default=0, help="room for so many more calls (0)")


def _run_status(args: argparse.Namespace, tell: Tell) -> int:
    from mediaserver.cluster.actors.asking import Cluster, ClusterError, lines_of

    try:
        tell("\n".join(lines_of(Cluster(args.address).status(), args.buffer)))
    except ClusterError as exc:
        raise ConfigurationError(str(exc)) from exc
    return 0


def _drain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", help="its name")
    _asks(parser, _telling(_run_drain))
    parser.add_argument(
        "--move-after", type=float, metavar="S", help="move what is left after S seconds (never)"
    )
    parser.add_argument("--undo", action="store_true", help="let it take calls again")
    parser.add_argument("--wait", type=float, metavar="S", help="at most, until it is empty")


def _run_drain(args: argparse.Namespace, tell: Tell) -> int:
    from mediaserver.cluster.actors.asking import Cluster, ClusterError

    try:
        cluster = Cluster(args.address)
        cluster.drain(args.node, on=not args.undo, move_in_s=args.move_after)
        tell(f"node {args.node} {'takes calls again' if args.undo else 'drains'}")
        if args.wait is not None and not args.undo:
            is_empty = cluster.wait_empty(args.node, args.wait)
            tell(f"node {args.node} {'is empty' if is_empty else 'still has calls'}")
            return 0 if is_empty else 1
    except ClusterError as exc:
        raise ConfigurationError(str(exc)) from exc
    return 0


def _roll(parser: argparse.ArgumentParser) -> None:
    _asks(parser, _telling(_run_roll))
    parser.add_argument(
        "--move-after", type=float, default=0.0, metavar="S", help="then calls are moved (0)"
    )


def _run_roll(args: argparse.Namespace, tell: Tell) -> int:
    from mediaserver.cluster.actors.asking import Cluster, ClusterError

    try:
        for line in Cluster(args.address).roll(args.move_after):
            tell(line)
    except ClusterError as exc:
        raise ConfigurationError(str(exc)) from exc
    return 0


def _place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--call", default="", help="its call_control_id, if it has one")
    parser.add_argument("--zone", default="", help="where it should be")
    parser.add_argument("--label", action="append", default=[], help="what its node should have")
    _asks(parser, _telling(_run_place))
    add_flags(parser, LOADER, ("auth_token",))
    add_key_file(parser)


def _run_place(args: argparse.Namespace, tell: Tell) -> int:
    from mediaserver.cluster.actors.asking import Cluster, ClusterError
    from mediaserver.cluster.messages import Asked
    from mediaserver.cluster.node.starting import token_of

    settings = settings_of(args)
    if settings.auth_token is None:
        raise ConfigurationError("place needs auth_token, the same as the nodes have")
    try:
        cluster = Cluster(args.address)
        asked = Asked(call=args.call, zone=args.zone, labels=tuple(args.label))
        placement = cluster.place(asked)
    except ClusterError as exc:
        raise ConfigurationError(str(exc)) from exc
    tell(f"node               {placement.node}")
    tell(f"stream_url         ws{placement.public_url.removeprefix('http')}/media")
    tell(f"stream_auth_token  {token_of(settings.auth_token, placement, time.time())}")
    tell(f"epoch              {placement.epoch}")
    return 0


def _run_demo(args: argparse.Namespace, tell: Tell) -> int:
    from mediaserver.cluster.simulation.demo import run_demo

    if not 3 <= args.calls <= 60:
        raise ConfigurationError("--calls must be from 3 to 60")
    return run_demo(args.calls, tell)
