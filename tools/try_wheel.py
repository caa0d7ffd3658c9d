"""The wheel as its users get it: installed in a fresh environment, without constraints, and run.

    python tools/try_wheel.py install FOLDER [--lowest]
    python tools/try_wheel.py run FOLDER
    python tools/try_wheel.py test FOLDER
    python tools/try_wheel.py versions FOLDER
    python tools/try_wheel.py resolve VERSION

``install`` makes an environment in FOLDER for the Python that runs it, and installs the wheel
that lies in ``dist`` with the newest version of everything; ``--lowest`` takes the lowest
version allowed of everything that ``pyproject.toml`` names. ``run`` runs the commands there, in
a folder of their own: the version, the lists of codecs and processors, the demo, and a server
that is called, asked for its health and ended. ``test`` runs the tests that hold what is used
of uvicorn, websockets, starlette and PyAV; ``versions`` runs them with older ones of these, one
at a time, and prints a row of ``docs/versions.md`` for each. ``resolve`` asks whether all that is
needed can be had as wheels for another version of Python; ask it of the newest one at hand.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
READY = re.compile(r"mediaserver ready on (ws://(\S+)/media)")
# Where other programs' limits are met most, and what is used is not all documented.
OLDER = {
    "uvicorn": ("0.32.1", "0.38.0", "0.46.0", "0.53.0"),
    "websockets": ("15.0", "16.0", "17.0"),
    "starlette": ("0.40.0", "0.46.2", "0.52.1", "1.0.0"),
    "av": ("14.0.0", "16.1.0", "18.1.0"),
}
CONTRACT = (
    "tests/server/sockets/test_http.py",
    "tests/server/sockets/frames/test_websocket.py",
    "tests/server/sockets/test_early_bytes.py",
    "tests/server/sockets/test_hostile_heads.py",
    "tests/carrier/test_call.py",
    "tests/carrier/rest/test_commands.py",
    "tests/carrier/rest/test_webhook_shapes.py",
    "tests/control/webhooks/test_delivery.py",
    "tests/telephony_codecs/test_amrwb.py",
    "tests/telephony_codecs/test_amrwb_cores.py",
    "tests/telephony_codecs/test_clips.py",
    "tests/telephony_codecs/test_contract.py",
    "tests/telephony_codecs/test_mp3.py",
    "tests/telephony_codecs/test_opus.py",
)
TOOLS = ("pytest>=8,<9.2", "pytest-asyncio", "pytest-timeout", "pytest-xdist", "hypothesis")
# Generous: downloads are among them.
PATIENCE_S = 600


class Failure(Exception):
    """Something did not go as it must; what, and what was printed."""


def command(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a command to its end and return what it printed; Failure if it does not end with 0."""
    named = " ".join(map(str, words))
    # None of the project's own constraints: users have none.
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_CONSTRAINT")}
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=environment | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise Failure(f"{named} did not end") from late
    if done.returncode:
        raise Failure(f"{named} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def the_wheel() -> Path:
    """Return the wheel in ``dist``."""
    wheels = list((REPOSITORY / "dist").glob("mediaserver-*.whl"))
    if len(wheels) != 1:
        raise Failure(f"{len(wheels)} wheels in dist, there must be one: make wheel")
    return wheels[0]


def direct() -> dict[str, str]:
    """Return what the project requires: the lowest version allowed, by name."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    lowest = {}
    for each in wanted:
        found = re.match(r"([\w-]+)>=([\w.]+)", each)
        if found is None:
            raise Failure(f"{each} in pyproject.toml says no lowest version")
        lowest[found[1]] = found[2]
    return lowest


def install(folder: Path, *, lowest: bool) -> None:
    """Make the environment in ``folder`` anew, and install the wheel there."""
    wheel = the_wheel()
    venv.create(folder, clear=True, with_pip=True)
    pip = (folder / "bin" / "python", "-m", "pip")
    limits: tuple[str | Path, ...] = ()
    if lowest:
        pins = folder / "lowest.txt"
        pins.write_text("".join(f"{name}=={least}\n" for name, least in direct().items()))
        limits = ("--constraint", pins)
    command(*pip, "install", "--quiet", *limits, wheel)
    command(*pip, "check")


def run(folder: Path) -> None:
    """Run the commands of the environment in ``folder``, and say what was run."""
    binaries = folder.resolve() / "bin"
    mediaserver = binaries / "mediaserver"
    with tempfile.TemporaryDirectory() as name:
        cwd = Path(name)
        ask = "import sys, mediaserver; print(*sys.version_info[:2], sep='.', end=' ')"
        python = command(binaries / "python", "-c", ask, cwd=cwd)
        version = command(mediaserver, "--version", cwd=cwd).split()[1]
        if not the_wheel().name.startswith(f"mediaserver-{version}-"):
            raise Failure(f"{the_wheel().name} says it is {version}")
        print(f"Python {python.strip()}, mediaserver {version}")
        freeze = command(binaries / "python", "-m", "pip", "freeze").splitlines()
        known = {each.lower() for each in direct()}
        print(" ", ", ".join(f for f in freeze if f.partition("==")[0].lower() in known))
        print(command(mediaserver, "codecs", cwd=cwd), end="")
        for word in ("echo", "record"):
            if word not in command(mediaserver, "processors", cwd=cwd):
                raise Failure(f"the processor {word} is not there")
        said = command(mediaserver, "demo", "--seconds", "2", cwd=cwd)
        print("demo:", *(line for line in said.splitlines() if re.match("without|.* calls,", line)))
        with serving(mediaserver, cwd) as (url, host):
            with urllib.request.urlopen(f"http://{host}/readyz", timeout=PATIENCE_S) as answer:
                print("readyz:", answer.read().decode())
            placed = ("--calls", "3", "--seconds", "2", "--expect-echo", "--figures-only")
            print(command(mediaserver, "simulate", "--url", url, *placed, cwd=cwd), end="")


@contextlib.contextmanager
def serving(mediaserver: Path, cwd: Path) -> Iterator[tuple[str, str]]:
    """Run a server of two workers; its URL for calls, and its host and port."""
    words = (mediaserver, "serve", "--port", "0", "--processor", "echo", "--workers", "2")
    with subprocess.Popen(words, cwd=cwd, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            said = []
            for line in server.stderr:
                said.append(line)
                if ready := READY.search(line):
                    yield ready[1], ready[2]
                    break
            else:
                raise Failure(f"the server did not get ready:\n{''.join(said)}")
            server.send_signal(signal.SIGTERM)
            _, rest = server.communicate(timeout=PATIENCE_S)
            if server.returncode or "Traceback" in rest:
                raise Failure(f"the server ended with {server.returncode}:\n{rest}")
        finally:
            server.kill()


def test(folder: Path) -> str:
    """Run the contract tests with what is installed in ``folder``; the last line they printed.

    Those that fail run once more, alone: many wait in real time, on a machine that others share.
    """
    folder = folder.resolve()
    pytest = (folder / "bin" / "python", "-m", "pytest", "-q", "-o", f"cache_dir={folder}/cache")
    command(*pytest[:2], "pip", "install", "--quiet", *TOOLS)
    try:
        said = command(*pytest, "-n", "2", "--dist", "loadgroup", *CONTRACT, cwd=REPOSITORY)
    except Failure as failure:
        print(failure)
        said = command(*pytest, "--last-failed", *CONTRACT, cwd=REPOSITORY)
    return said.rstrip().splitlines()[-1]


def versions(folder: Path) -> bool:
    """Run the contract tests with one older version at a time; False if any failed."""
    well = True
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    older = [(name, version) for name, them in OLDER.items() for version in them]
    for name, version in [("newest of all", ""), *older]:
        try:
            if version:
                command(*pip, f"{name}=={version}")
            print(f"| {name} {version} | {test(folder)} |", flush=True)
        except Failure as failure:
            well = False
            print(f"| {name} {version} | failed |", failure, sep="\n", flush=True)
        if version:
            command(*pip, "--upgrade", name)
    return well


def resolve(version: str) -> None:
    """Ask for wheels alone of everything, for another version of Python."""
    words = ("--dry-run", "--quiet", "--only-binary", ":all:", "--python-version", version)
    with tempfile.TemporaryDirectory() as name:
        command(sys.executable, "-m", "pip", "install", *words, "--target", name, the_wheel())
    print(f"Python {version}: everything there is as a wheel; nothing was run")


def main() -> int:
    """Do what is asked; 0 if all went well."""
    parser = argparse.ArgumentParser(description="the wheel in a fresh environment")
    what = parser.add_subparsers(dest="what", required=True)
    installing = what.add_parser("install")
    installing.add_argument("folder", type=Path)
    installing.add_argument("--lowest", action="store_true")
    for word in ("run", "test", "versions"):
        what.add_parser(word).add_argument("folder", type=Path)
    what.add_parser("resolve").add_argument("version")
    args = parser.parse_args()
    try:
        if args.what == "install":
            install(args.folder, lowest=args.lowest)
        elif args.what == "run":
            run(args.folder)
        elif args.what == "test":
            print(test(args.folder))
        elif args.what == "versions":
            return 0 if versions(args.folder) else 1
        else:
            resolve(args.version)
    except Failure as failure:
        print(f"try_wheel: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
