"""What does each feature cost? CPU a frame, p99 and memory of ours, with it and without.

  plain      mediaserver serve --processor echo, PCMU
  bunches    the same; frames of the same millisecond arrive together
  tls        TLS 1.3 in the server's process
  nginx      TLS in nginx before it; its CPU and memory count, too
  pcma, l16, g722, opus, amrwb   other codecs; amrwb: AMR-WB from the caller, G722 back
  mix        six codecs at once
  resample   PCMU at 8 kHz from the caller, L16 at 16 kHz back
  workers    two workers, each with as many calls
  record, vad, isolated   with this processor; isolated: the echo in processor hosts

Each process gets the same number of calls (``--calls``), the servers in turns, with real speech,
on a schedule that waits for nothing; every reply is compared with what was sent. Ratios are taken
pair by pair.
``--knees`` looks for the knee of each as well: that takes two minutes each.

What this does NOT show
  - the handshakes of TLS: calls are up before the counting begins;
  - what a processor of yours costs;
  - what is written to a slow disk by record;
  - a machine with more cores: with two workers the generator takes part of their CPU;
  - anything on a busy machine: see "waited for a core";
  - absolute figures worth quoting: those are this machine's, today. Compare ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, rungs
from benchmarks.parts.rungs import Subject
from benchmarks.parts.servers import free_port
from benchmarks.parts.tls_server import certificate
from mediaserver.bench import capacity
from mediaserver.bench.figures import Report, Rung
from mediaserver.bench.load.voices import voice
from mediaserver.bench.own_server import Watched, own_server, serving
from telephony_codecs import CodecError

CODECS = {"pcma": "PCMA", "l16": "L16", "g722": "G722", "opus": "OPUS", "amrwb": "AMR-WB>G722"}
MIX = ("PCMU", "PCMA", "L16", "G722", "OPUS", "AMR-WB>G722")
KEYS = (
    *("plain", "bunches", "tls", "nginx"),
    *CODECS,
    *("mix", "resample", "workers", "record", "vad", "isolated"),
)
WORKERS_RATIO = 1.1
SMALLEST = {
    "only": ["plain", "tls", "resample", "workers", "record"],
    "calls": 4,
    "repeats": 1,
    "seconds": 0.3,
    "warmup": 0.1,
}
_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key};
    location / {{
      proxy_pass http://127.0.0.1:{inner}; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""


def subjects_of(keys: list[str], folder: Path) -> tuple[dict[str, Subject], dict[str, str]]:
    """What is to be measured, and what is not available, with the reason."""
    there: dict[str, Subject] = {}
    missing: dict[str, str] = {}
    for key in keys:
        try:
            there[key] = _subject(key, folder)
        except (LookupError, CodecError) as error:
            missing[key] = str(error)
            print(f"{key} is not available: {error}", file=sys.stderr)
    return there, missing


def _subject(key: str, folder: Path) -> Subject:
    """Raises LookupError or CodecError where this machine lacks something."""
    if key in CODECS:
        voice(CODECS[key])
        return rungs.ours(title=key, mix=[CODECS[key]])
    if key == "mix":
        for name in MIX:
            voice(name)
        return rungs.ours(title=key, mix=MIX)
    if key in ("tls", "nginx"):
        cert, private = certificate(folder)
        if key == "tls":
            return rungs.ours(f"--tls-cert={cert}", f"--tls-key={private}", title=key)
        if shutil.which("nginx") is None:
            raise LookupError("there is no nginx here")
        return Subject(key, lambda: _behind_nginx(folder, cert, private))
    if key == "vad" and importlib.util.find_spec("onnxruntime") is None:
        raise LookupError("the extra mediaserver[vad] is not installed")
    flags = {
        "workers": ["--workers", "2"],
        "record": ["--processor", f"record?directory={folder}", "--processor", "echo"],
        "vad": ["--processor", "vad", "--processor", "echo"],
        "isolated": ["--isolate"],
    }
    mix = ["PCMU>L16"] if key == "resample" else ["PCMU"]
    n_processes = 2 if key == "workers" else 1
    return rungs.ours(*flags.get(key, []), title=key, mix=mix, n_processes=n_processes)


@contextlib.contextmanager
def _behind_nginx(folder: Path, cert: Path, key: Path) -> Iterator[Watched]:
    with own_server([], 1000) as server:
        inner, port = server.url.split(":")[2].split("/")[0], free_port()
        conf = folder / "nginx.conf"
        conf.write_text(_NGINX.format(folder=folder, cert=cert, key=key, port=port, inner=inner))
        line = [shutil.which("nginx") or "nginx", "-p", str(folder), "-c", str(conf)]
        with serving(line, port) as pid:
            yield Watched(f"wss://127.0.0.1:{port}/media", "nginx", (*server.pids, pid))


def run_all(args: argparse.Namespace) -> command.Report:
    """Equal loads in turns, then the knees, if they are asked for."""
    began_s, about = time.monotonic(), capacity.machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        subjects, missing = subjects_of(args.only, Path(folder))
        found: dict[str, list[Rung]] = {}
        spread = {key: each for key, each in subjects.items() if key != "bunches"}
        found = rungs.in_turns(spread, args, args.calls)
        if "bunches" in subjects:
            together = argparse.Namespace(**{**vars(args), "frames": "bunches"})
            found |= rungs.in_turns({"bunches": subjects["bunches"]}, together, args.calls)
        knees: dict[str, Report | str] = {}
        if args.knees:
            knees = {key: rungs.knee(each, args, args.max_calls) for key, each in subjects.items()}
    base = found.get("plain")
    ratios = {key: rungs.ratio(each, base) if base else None for key, each in found.items()}
    return {
        "machine": about,
        "rows": {key: rungs.summary(each) for key, each in found.items()},
        "ratios": ratios,
        "knees": {key: rungs.as_data(each) for key, each in knees.items()},
        "missing": missing,
        "lines": _lines(about, found, ratios, knees, missing, args),
        "took_s": time.monotonic() - began_s,
    }


def _lines(
    about: dict[str, str],
    found: dict[str, list[Rung]],
    ratios: dict[str, dict[str, float] | None],
    knees: dict[str, Report | str],
    missing: dict[str, str],
    args: argparse.Namespace,
) -> list[str]:
    rows = []
    for key, each in found.items():
        told = rungs.summary(each)
        cells = [rungs.cell(told["cpu_us_per_frame"]), rungs.cell(ratios[key], 2)]
        cells += [rungs.cell(told["p99_ms"]), rungs.cell(told["memory_kb_per_call"], 0)]
        knee = [rungs.knee_cell(knees[key])] if knees else []
        name = f"{key}, {2 * args.calls} calls" if key == "workers" else key
        rows.append([name, *cells, str(told["lost"]), *knee])
    head = [f"{args.calls} calls", "CPU, µs a frame", "by plain", "p99, ms", "KB a call", "lost"]
    line = rungs.repeat_by("capacity", args.given)
    return [
        *(rungs.origin(about, line), ""),
        *rungs.table([*head, *(["knee"] if knees else [])], rows),
        "",
        rungs.closing(found.values()),
        *(f"Not available: {key}: {reason}." for key, reason in missing.items()),
    ]


def verdict(report: command.Report) -> list[str]:
    """What ``--check`` finds wrong."""
    ratio = report["ratios"].get("workers")
    if ratio is None or ratio["median"] <= WORKERS_RATIO:
        return []
    return [f"a frame costs {ratio['median']:.2f} times as much with two workers"]


def _keys(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(KEYS):
        raise argparse.ArgumentTypeError(f"no feature {', '.join(sorted(unknown))}")
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if the run is void or ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    rungs.add_flags(parser)
    command.add_report_flags(parser, f"two workers cost > {WORKERS_RATIO} times the CPU of one")
    parser.add_argument("--only", type=_keys, default=list(KEYS), help="such as plain,tls")
    parser.add_argument("--calls", type=int, default=100, help="of each run")
    parser.add_argument("--knees", action="store_true", help="look for knees as well")
    parser.add_argument("--max-calls", type=int, default=700, help="to look for knees")
    args = parser.parse_args(argv)
    args.given = sys.argv[1:] if argv is None else argv
    script = command.Script(
        "capacity", __doc__, run_all, lambda report: _show(report, args.markdown), verdict
    )
    return command.run(script, args)


def _show(report: command.Report, markdown: Path | None) -> None:
    rungs.show("capacity", report["lines"], markdown)
    print(f"\nevery reply verified; took {report['took_s'] / 60:.1f} minutes")


if __name__ == "__main__":
    sys.exit(main())
