"""Each pure module is covered by the test file of its own, and by that file alone.

Pure are the rooms of ``ROOMS``, whole, and the modules of ``NAMED``. A pure module's own test
file lies at the module's place under ``tests`` and has its name: ``media/dtmf.py`` has
``tests/media/test_dtmf.py``. ``__init__`` modules need none.

It reads what one run has measured with a context for each test
(``pytest --cov --cov-context=test``), so it costs no second run; ``--run`` measures the own
test files first. What counts for a module is what runs when it is imported, and what its own
file's tests run; not what other files' tests run, nor what any file runs while it is collected.

    python tests/own_coverage.py [--run]
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coverage import Coverage, CoverageData

ROOT = Path(__file__).resolve().parent.parent
CONFIG = str(ROOT / "pyproject.toml")

ROOMS = ("mediaserver.wire", "mediaserver.media", "telephony_codecs")
NAMED = (
    "mediaserver.bridges.outbox",
    "mediaserver.bridges.pcm",
    "mediaserver.bridges.retries",
    "mediaserver.cluster.directory",
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
    "mediaserver.processors.spec",
    "mediaserver.processors.batch",
    "mediaserver.processors.chain",
    "mediaserver.processors.control",
    "mediaserver.processors.kit.tones",
    "mediaserver.processors.parameters",
    "mediaserver.processors.routing",
    "mediaserver.processors.utterances",
    "mediaserver.processors.builtin.wav",
    "mediaserver.server.sockets.frames.websocket",
    "mediaserver.testing.ear",
    "mediaserver.testing.shapes",
)
# Half of the module runs only where the machine has what this direction of a codec needs.
# Where it has not, the module's tests skip with the reason, and the module is not judged.
NEEDS = {"telephony_codecs.amrwb": ("AMR-WB", "encode")}
LEAST_PERCENT = 95.0
MEASURE = ("--cov", "--cov-context=test", "--cov-report=", "--cov-fail-under=0")


def source_of(module: str) -> Path:
    """Return the module's file."""
    base = ROOT / "codecs" if module.startswith("telephony_codecs") else ROOT
    return base.joinpath(*module.split(".")).with_suffix(".py")


def own_tests_of(module: str) -> Path:
    """Return where the module's own test file lies."""
    *folders, name = module.removeprefix("mediaserver.").split(".")
    return ROOT.joinpath("tests", *folders, f"test_{name}.py")


def pure_modules() -> Iterator[str]:
    """Yield the names of all pure modules."""
    for room in ROOMS:
        folder = source_of(room).with_suffix("")
        for path in sorted(folder.rglob("*.py")):
            if path.name != "__init__.py":
                yield ".".join((room, *path.relative_to(folder).with_suffix("").parts))
    yield from NAMED


def new_coverage() -> Coverage:
    """Return a measurement with the project's settings that is written nowhere."""
    return Coverage(data_file=None, config_file=CONFIG)


def run_at_import(modules: list[str]) -> CoverageData:
    """Return what runs when the modules are imported; none of them may be already."""
    measured = new_coverage()
    with measured.collect():
        for module in modules:
            importlib.import_module(module)
    return measured.get_data()


def report_on(module: str, at_import: CoverageData, by_test: CoverageData) -> Any:
    """Return coverage's own report on a module of which only its own test file was run."""
    source = str(source_of(module))
    tests = own_tests_of(module).relative_to(ROOT).as_posix()
    by_test.set_query_contexts([f"^{re.escape(tests)}::"])
    own = new_coverage()
    for data in (at_import, by_test):
        own.get_data().add_arcs({source: data.arcs(source) or []})
    with tempfile.TemporaryDirectory() as folder:
        outfile = Path(folder, "report.json")
        own.json_report(morfs=[source], outfile=str(outfile))
        (found,) = json.loads(outfile.read_text())["files"].values()
    return found


def what_did_not_run(found: Any) -> str:
    """Return one line on a report: the share that ran, and what did not."""
    lines = ", ".join(map(str, found["missing_lines"]))
    branches = ", ".join(f"{start}->{end}" for start, end in found["missing_branches"])
    percent = found["summary"]["percent_covered"]
    return f"{percent:.1f} %; not run: lines {lines or 'none'}; branches {branches or 'none'}"


def missing_here() -> dict[tuple[str, str], str]:
    """Return what codecs cannot do on this machine, by codec and direction, with the reason."""
    from telephony_codecs import status  # not at the top: its import is measured

    return {(each.codec, each.direction): each.reason for each in status() if not each.available}


def measure(modules: list[str]) -> None:
    """Run the modules' own test files, in one process."""
    files = [str(own_tests_of(module)) for module in modules]
    subprocess.run([sys.executable, "-m", "pytest", "-q", *MEASURE, *files], cwd=ROOT, check=True)


def fault_at_sight(module: str) -> str | None:
    """Return what is wrong before anything is measured."""
    if not source_of(module).exists():
        return "is not there"
    if not own_tests_of(module).exists():
        return f"has no {own_tests_of(module).relative_to(ROOT).as_posix()}"
    return None


def fault_of(module: str, at_import: CoverageData, by_test: CoverageData) -> str | None:
    """Return what is wrong by the measurement."""
    tests = own_tests_of(module).relative_to(ROOT).as_posix()
    if not any(context.startswith(f"{tests}::") for context in by_test.measured_contexts()):
        return f"none of {tests} was measured"
    found = report_on(module, at_import, by_test)
    enough = found["summary"]["percent_covered"] >= LEAST_PERCENT
    return None if enough else what_did_not_run(found)


def main(arguments: list[str]) -> int:
    """Print what is wrong with which module; 1 if anything is."""
    modules = list(pure_modules())
    faults = {module: fault_at_sight(module) for module in modules}
    judged = [module for module in modules if faults[module] is None]
    if "--run" in arguments:
        measure(judged)
    whole = Coverage(config_file=CONFIG)
    whole.load()
    by_test = whole.get_data()
    if not by_test.measured_contexts() - {""}:
        print("nothing was measured by test; run: pytest --cov --cov-context=test")
        return 1
    at_import = run_at_import(judged)
    missing = missing_here()
    for module in judged:
        if NEEDS.get(module) in missing:
            codec, direction = NEEDS[module]
            print(
                f"{module}: not judged, {codec} cannot {direction} here: {missing[NEEDS[module]]}"
            )
        else:
            faults[module] = fault_of(module, at_import, by_test)
    found = {module: fault for module, fault in faults.items() if fault is not None}
    for module, fault in found.items():
        print(f"{module}: {fault}")
    print(f"{len(modules)} pure modules, {len(found)} not covered by a test file of their own")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
