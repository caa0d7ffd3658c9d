"""Imports point one way, rooms stay small, and the lower ones touch nothing outside."""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "mediaserver": ROOT / "mediaserver",
    "telephony_codecs": ROOT / "codecs/telephony_codecs",
}

# Who may import whom, by room. A module's room is the longest name here that it begins with;
# "" is the package itself. What is in BASE may be imported by all but those without it.
BASE = {
    "conversion",
    "counters",
    "errors",
    "figures",
    "interrupts",
    "logs",
    "observer",
    "settings",
    "sources",
    "steady",
    "tokens",
}
WITHOUT_BASE = {
    *("carrier", "carrier.fork", "carrier.rest", "telephony_codecs", "testing", "processes"),
}
MEDIA = {"media", "media.playout", "telephony_codecs"}
MAY: dict[str, set[str]] = {
    "telephony_codecs": set(),
    "counters": set(),
    "errors": set(),
    "figures": set(),
    "interrupts": set(),
    "steady": set(),
    "logs": set(),
    "tokens": set(),
    "conversion": {"errors"},
    "sources": {"conversion", "errors"},
    "settings": {"conversion", "sources"},
    "observer": {"logs"},
    "history": set(),
    "afterwards": {"logs"},
    "wire": {"telephony_codecs"},
    "media": {"telephony_codecs"},
    "media.playout": {"media", "telephony_codecs"},
    "processors": {"media", "telephony_codecs"},
    "processors.builtin": {"afterwards", "processors", *MEDIA},
    "bridges": {"processors", "processors.kit", *MEDIA},
    "processes": {"errors", "logs"},
    "server.sockets": set(),
    "server.admission": {"wire"},
    "server.calls.audio": {"processors", "wire", *MEDIA},
    "server.calls": {
        "afterwards",
        "server.admission",
        "server.calls.audio",
        "server.load",
        "server.sockets",
        "processors",
        "wire",
        *MEDIA,
    },
    "server.listener": {"server.admission", "server.calls", "server.sockets"},
    "server.handover": {"server.admission", "server.calls", "server.sockets", "wire"},
    "server.generations": {"processes", "server.handover"},
    "server.handed_settings": {"processes"},
    "server.isolation": {
        "processes",
        "processors",
        "server.handed_settings",
        "server.calls",
        "server.calls.audio",
        "wire",
        *MEDIA,
    },
    "server.load": set(),
    "server.fork": {
        "server.admission",
        "server.calls",
        "server.calls.audio",
        "processors",
        "wire",
        *MEDIA,
    },
    "server.batching": {"server.calls", "processors", "media"},
    "server.base": {"server.handover", "server.listener", "server.load"},
    "server.live.forms": set(),
    "server.live": {
        "server.calls",
        "server.calls.audio",
        "server.live.forms",
        "processors",
        *MEDIA,
    },
    "server.service": {
        "processes",
        "server.live",
        "server.base",
        "server.handover",
        "server.fork",
        "server.listener",
        "server.admission",
        "server.calls",
        "server.sockets",
        "wire",
    },
    "server.workers": {
        "afterwards",
        "processes",
        "server.live",
        "server.handed_settings",
        "server.base",
        "server.handover",
        "server.listener",
        "server.admission",
        "server.calls",
        "server.sockets",
        "wire",
    },
    "control.errors": set(),
    "control.events": {"control.errors"},
    "control.results": set(),
    "control.encoding": {"control.errors", "control.events", "control.results"},
    "control.checks": {"control.errors"},
    "control.own_server": {"control.checks", "control.errors"},
    "control.rest": {
        "control.own_server",
        "control.checks",
        "control.errors",
        "control.results",
    },
    "control.webhooks": {"control.own_server", "control.errors", "control.events"},
    "control": {
        "control.rest",
        "control.webhooks",
        "control.own_server",
        "control.errors",
        "control.events",
        "control.results",
    },
    "monitor": {"history", "processes", "server.base", "server.live.forms", "server.sockets"},
    "app.loop": set(),
    "app": {
        "app.loop",
        "history",
        "processes",
        "processors",
        "monitor",
        "server.base",
        "server.batching",
        "server.calls",
        "server.generations",
        "server.handover",
        "server.fork",
        "server.isolation",
        "server.listener",
        "server.service",
        "server.workers",
        "telephony_codecs",
        "control",
        "control.rest",
        "control.errors",
        "control.events",
        "control.encoding",
    },
    "asgi": {
        "app",
        "control.webhooks",
        "server.admission",
        "server.calls",
        "server.listener",
        "server.sockets",
    },
    "cluster": {
        "app",
        "carrier",
        "carrier.rest",
        "control",
        "control.encoding",
        "control.errors",
        "control.events",
        "control.rest",
    },
    "carrier": {"telephony_codecs"},
    "carrier.fork": {"carrier", "telephony_codecs"},
    "carrier.rest": {"carrier", "carrier.fork", "telephony_codecs"},
    "testing": {"telephony_codecs"},
    "testing.calls": {"app", "carrier", "telephony_codecs"},
    "phone": {"carrier", "monitor", "telephony_codecs"},
    "bench": {"carrier", "telephony_codecs"},
    "cli": {
        "",
        "app",
        "bench",
        "carrier",
        "carrier.fork",
        "carrier.rest",
        "cluster",
        "control",
        "control.errors",
        "control.events",
        "control.rest",
        "control.webhooks",
        "history",
        "phone",
        "processors",
        "telephony_codecs",
    },
    "": {
        "app",
        "control",
        "control.errors",
        "control.events",
        "control.results",
        "control.webhooks",
        "processors",
        "media",
    },
    "__main__": {"cli"},
}
# Whom a room may name in types, which only a type checker reads (``if TYPE_CHECKING``).
FOR_TYPES = {"processors": {"control.own_server", "control.rest", "control.results"}}
PURE = {"wire", "media", "media.playout", "telephony_codecs"}
PURE_MODULES = {
    "mediaserver.bridges.outbox",
    "mediaserver.bridges.pcm",
    "mediaserver.bridges.retries",
    "mediaserver.cluster.directory",
    "mediaserver.cluster.messages",
    "mediaserver.cluster.moves",
    "mediaserver.cluster.placement",
    "mediaserver.conversion",
    "mediaserver.phone.delay",
    "mediaserver.phone.earpiece",
    "mediaserver.phone.ledger",
    "mediaserver.phone.messages",
    "mediaserver.phone.source",
    "mediaserver.phone.way",
    "mediaserver.processors.api",
    "mediaserver.processors.batch",
    "mediaserver.processors.chain",
    "mediaserver.processors.control",
    "mediaserver.processors.events",
    "mediaserver.processors.kit.tones",
    "mediaserver.processors.parameters",
    "mediaserver.processors.plays",
    "mediaserver.processors.routing",
    "mediaserver.processors.spec",
    "mediaserver.processors.utterances",
    "mediaserver.server.sockets.frames.websocket",
    "mediaserver.testing.ear",
    "mediaserver.testing.realtime_shapes",
    "mediaserver.testing.shapes",
}
OUTSIDE = {"asyncio", "socket", "time", "threading", "subprocess", "os", "selectors", "ssl"}
# The file opener and the library finder touch files by their nature.
EXEMPT = {"telephony_codecs.clips", "telephony_codecs.libraries"}

MAX_MODULE_LINES = 400
MAX_MEDIAN_MODULE_LINES = 150
MAX_FUNCTION_LINES = 40
MAX_MODULES_OF_A_FOLDER = 12


def modules() -> list[tuple[str, Path]]:
    found = []
    for package, root in PACKAGES.items():
        for path in sorted(root.rglob("*.py")):
            parts = [package, *path.relative_to(root).with_suffix("").parts]
            found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


MODULES = modules()
IDS = [module for module, _ in MODULES]


def room(module: str) -> str:
    package, _, inner = module.partition(".")
    if package == "telephony_codecs":
        return package
    parts = inner.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in MAY), "")


def for_types(tree: ast.AST) -> set[ast.AST]:
    """What only a type checker reads."""
    blocks = (
        node.body
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    return {node for body in blocks for statement in body for node in ast.walk(statement)}


def imports(path: Path, *, with_types: bool = True) -> set[str]:
    """The modules a file imports, wherever in it."""
    found = set()
    known = set(IDS)
    tree = ast.parse(path.read_text())
    left_out = set() if with_types else for_types(tree)
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return found


def forbidden(module: str, imported: set[str], *, in_types: bool = False) -> set[str]:
    """What of these imports the module's room may not have."""
    own = room(module)
    base = set() if own in WITHOUT_BASE else BASE
    allowed = MAY[own] | {own} | base | (FOR_TYPES.get(own, set()) if in_types else set())
    ours = {name for name in imported if name.split(".")[0] in PACKAGES}
    return {name for name in ours if room(name) not in allowed}


@pytest.mark.parametrize(("module", "path"), MODULES, ids=IDS)
def test_imports_point_one_way(module: str, path: Path) -> None:
    """A module imports its own room, the rooms below it, and nothing beside it."""
    assert not forbidden(module, imports(path, with_types=False))
    assert not forbidden(module, imports(path), in_types=True)


def test_no_arrow_runs_back_up() -> None:
    """The table itself allows no circle: it can be read from the bottom to the top."""
    whole = {room: below | FOR_TYPES.get(room, set()) for room, below in MAY.items()}
    order = list(TopologicalSorter(whole).static_order())
    assert order.index("media") < order.index("server.calls") < order.index("app")


def test_no_modules_import_each_other() -> None:
    """There is no circle of modules, inside a room or across rooms."""
    ours = set(IDS)
    # A package is loaded before its modules without being asked for; that is no arrow.
    TopologicalSorter({m: imports(p) & ours - {m} for m, p in MODULES}).prepare()


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("mediaserver.server.sockets.poller", "mediaserver.server.calls.session"),
        ("mediaserver.server.calls.audio.inbound", "mediaserver.server.calls.session"),
        ("mediaserver.server.calls.registry", "mediaserver.server.workers.messages"),
        ("mediaserver.server.workers.service", "mediaserver.server.service"),
        ("mediaserver.media.reorder", "mediaserver.media.playout"),
        ("mediaserver.control.webhooks.receiver", "mediaserver.control.rest.commands"),
        ("mediaserver.carrier.plan", "mediaserver.errors"),
        ("mediaserver.processes.child", "mediaserver.settings"),
        ("mediaserver.processes.supervisor", "mediaserver.server.workers.messages"),
        ("mediaserver.server.workers.commands", "mediaserver.control.encoding"),
        ("mediaserver.processors.control", "mediaserver.control.results"),
        ("mediaserver.wire.messages", "mediaserver.media.frames"),
    ],
)
def test_an_added_arrow_is_found(module: str, imported: str) -> None:
    """An import from a room above or beside is refused, also between two rooms of one wing."""
    assert module in IDS
    assert imported in IDS
    assert forbidden(module, {imported}) == {imported}


@pytest.mark.parametrize(
    ("module", "path"),
    [(m, p) for m, p in MODULES if (room(m) in PURE or m in PURE_MODULES) and m not in EXEMPT],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lower_layers_touch_nothing_outside(module: str, path: Path) -> None:
    """No asyncio, clock, socket, thread or environment below the session."""
    outside = {name.split(".")[0] for name in imports(path)} & OUTSIDE
    assert not outside, f"{module} imports {outside}"


def test_pure_modules_are_there() -> None:
    """The list of pure modules names no module that has gone."""
    assert set(IDS) >= PURE_MODULES


@pytest.mark.parametrize(("module", "path"), MODULES, ids=IDS)
def test_modules_and_functions_stay_small(module: str, path: Path) -> None:
    """No module above 400 lines, no function above 40."""
    text = path.read_text()
    assert text.count("\n") <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno + 1 <= MAX_FUNCTION_LINES, node.name


def test_rooms_stay_small() -> None:
    """No folder of the server above 12 modules; half of all modules have at most 150 lines."""
    ours = [path for module, path in MODULES if module.startswith("mediaserver")]
    crowded = {
        folder.name: n
        for folder, n in Counter(path.parent for path in ours).items()
        if n > MAX_MODULES_OF_A_FOLDER
    }
    assert not crowded
    lines = [path.read_text().count("\n") for path in ours]
    assert statistics.median(lines) <= MAX_MEDIAN_MODULE_LINES


def test_codecs_is_no_package() -> None:
    """A ``codecs/__init__.py`` would shadow Python's own codecs module."""
    assert not (ROOT / "codecs" / "__init__.py").exists()
    import codecs

    assert Path(codecs.__file__).is_relative_to(Path(sys.base_prefix)) or "lib" in codecs.__file__


def test_codec_library_is_importable_alone() -> None:
    """The codec library knows nothing of the media server."""
    import subprocess

    code = (
        "import sys, telephony_codecs;"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('mediaserver', 'av', 'soxr')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
