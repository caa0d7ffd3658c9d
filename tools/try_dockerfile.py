"""Run the steps of ``deploy/Dockerfile`` on this machine, where no builder of containers is.

    python -m tools.try_dockerfile

Needs Debian and root. The steps are the file's own; only the two folders it makes, and the name
of its user, are others here, so that nothing of this machine is in its way. Then the server is
started as that user, and the file's health check and ``mediaserver codecs`` are run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USER = "mediaserver-try"


def steps_of(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile: each one's word, and what is behind it."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in found]


def main() -> int:
    """The exit code: 0 if every step works."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        print("needs Debian and root", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="dockerfile-"))
    folder.chmod(0o755)
    here = {
        "/opt/mediaserver": f"{folder}/opt",
        "/var/lib/mediaserver": f"{folder}/home",
        "/src": f"{folder}/src",
        "8080": "18080",
        " --uid 10001": "",
    }
    try:
        return _try(steps_of((ROOT / "deploy/Dockerfile").read_text()), here, folder)
    finally:
        subprocess.run(["userdel", USER], check=False, capture_output=True)
        shutil.rmtree(folder)


def _try(steps: list[tuple[str, str]], here: dict[str, str], folder: Path) -> int:
    def local(text: str) -> str:
        for there, ours in here.items():
            text = text.replace(there, ours)
        return re.sub(r"(useradd .*) mediaserver$", rf"\1 {USER}", text)

    env: dict[str, str] = {}
    last = dict(steps)
    for word, rest in steps:
        if word == "COPY":
            tracked = subprocess.run(
                ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
            ).stdout.split(b"\0")
            for name in filter(None, map(os.fsdecode, tracked)):
                if (ROOT / name).exists():
                    target = folder / "src" / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, target)
        elif word == "RUN":
            command = local(rest).replace(" && rm -rf /var/lib/apt/lists/*", "")
            print(f"RUN {command}", flush=True)
            # The system's own Python: the step's user may not read another one's.
            python = f"mkdir -p {folder}/bin; ln -sf /usr/bin/python3 {folder}/bin/python; "
            python += f"PATH={folder}/bin:$PATH; "
            subprocess.run(["/bin/sh", "-ec", python + command], check=True)
        elif word == "ENV":
            env |= dict(each.split("=", 1) for each in local(rest).split())
    env["PATH"] = env["PATH"].replace("$PATH", "/usr/bin:/bin")
    entry = json.loads(last["ENTRYPOINT"])
    as_user = ["setpriv", f"--reuid={USER}", "--clear-groups", f"--regid={USER}"]
    run = [*as_user, "env", f"HOME={folder}/home", *(f"{k}={v}" for k, v in env.items())]
    subprocess.run([*run, *entry, "codecs"], check=True, cwd=folder / "home")
    server = subprocess.Popen([*run, *entry, *json.loads(last["CMD"])], cwd=folder / "home")
    try:
        check = json.loads(local(last["HEALTHCHECK"]).partition(" CMD ")[2])
        for _ in range(120):
            if subprocess.run([*run, *check], capture_output=True, check=False).returncode == 0:
                print("healthy")
                break
            time.sleep(0.5)
        else:
            return 1
    finally:
        server.terminate()
        code = server.wait()
    print(f"ended with {code} after SIGTERM")
    return code


if __name__ == "__main__":
    sys.exit(main())
