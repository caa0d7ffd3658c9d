"""Runs the commands of a page, top to bottom, as a reader would, against a fake Telnyx.

What a reader would have of his own is filled in: keys, the public URL (this machine), free
ports, a call that is up. Commands that serve are started, and end with the page or when
another one takes their place; what is shown of a command's output must come.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import wave
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from tests.docs.pages import REPOSITORY, Block
from tests.ports import free_fork_ports, free_port

READY_WITHIN_S = 60.0
ENDED_WITHIN_S = 60.0
KEY, SECRET = "KEY-canary-of-the-pages", "canary-secret-of-the-pages"
READY = {
    "serve": "mediaserver ready",
    "carrier": "call in:",
    "fork": "receives forks",
    "phone": "mediaserver phone on",
}
DAEMONS = tuple(f"mediaserver {each}" for each in ("serve", "carrier", "fork listen", "phone"))
# All other commands need a call that is up.
NEEDS_RINGING = "control answer"


@dataclass
class Step:
    """One command of a page, and the lines shown below it."""

    command: str
    shown: list[str]


def steps(block: Block) -> list[Step]:
    """The commands of a block: every line of ``sh``, those behind ``$`` of ``console``."""
    if block.language == "sh":
        return [Step(line, []) for line in block.text.splitlines() if line]
    found: list[Step] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:], []))
        else:
            found[-1].shown.append(line)
    return found


def normal(text: str) -> str:
    """A line of output without what differs from run to run: figures, ids, paths, spacing."""
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b", "ID", text)
    return re.sub(r"\s+", " ", re.sub(r"\d+([.-]\d+)*", "0", text)).strip()


class Daemon:
    """A command that goes on until it is ended; its output is kept."""

    def __init__(self, command: str, ready: str, env: dict[str, str], cwd: Path) -> None:
        self.command = command
        self.output = ""
        self._changed = threading.Event()
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            env=env,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        deadline = time.monotonic() + READY_WITHIN_S
        while ready not in self.output:
            self._changed.clear()
            left_s = deadline - time.monotonic()
            if self._process.poll() is not None or not self._changed.wait(max(left_s, 0)):
                self.end()
                raise AssertionError(f"{command} never said {ready!r}: {self.output}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
            self._changed.set()
        self._changed.set()

    def end(self) -> int:
        """Terminate it, a second time if it waits for its calls to end; its exit code.

        Not a second time without need: where the first one was heard, it may have no handler any
        more.
        """
        process, n_told = self._process, 0
        deadline = time.monotonic() + ENDED_WITHIN_S
        while process.poll() is None and time.monotonic() < deadline:
            waits = re.search(r"draining: [1-9]\d* calls", self.output) is not None
            if n_told < 1 + waits:
                process.terminate()
                n_told += 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        if process.poll() is None:
            process.kill()
        code = process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


class Reader:
    """Somebody who types in one page's commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port, self._other_port, carrier_port = free_port(), free_port(), free_port()
        self._fork_port = free_fork_ports(4)
        self._api = f"http://127.0.0.1:{carrier_port}"
        self._env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TELNYX_API_KEY": KEY,
            "MEDIASERVER_AUTH_TOKEN": "",
            "MEDIASERVER_PORT": str(self._port),
            "MEDIASERVER_API_BASE_URL": f"{self._api}/v2",
            # A busy machine may stall for longer than live audio may wait.
            "MEDIASERVER_BACKLOG_MS": "30000",
            "MEDIASERVER_CATCH_UP": "false",
            "COLUMNS": "80",
            # No browser is opened here.
            "DISPLAY": "",
            "WAYLAND_DISPLAY": "",
        }
        self._lay_out()
        webhook_url = f"http://127.0.0.1:{self._port}/webhooks/telnyx"
        self._carrier = self._started(
            f"mediaserver carrier --port {carrier_port} --answer-after 0"
            f" --webhook-url {webhook_url}",
            "call in:",
        )
        self._public_key = re.findall(r"public key: (\S+)", self._carrier.output)[0]
        self._env["TELNYX_PUBLIC_KEY"] = self._public_key
        self._daemons: dict[str, Daemon] = {}

    def close(self) -> None:
        """End what still runs: all must have ended well, and printed none of the secrets."""
        for daemon in (*self._daemons.values(), self._carrier):
            self._end(daemon)

    def do(self, step: Step) -> None:
        """Type in one command, and compare what comes with what is shown."""
        command = self._filled_in(step.command)
        if export := re.fullmatch(r"export (\w+)=(.*)", command):
            self._env[export[1]] = export[2]
        elif command.startswith(DAEMONS) and "--check" not in command:
            kind = command.split()[1]
            if daemon := self._daemons.pop(kind, None):
                self._end(daemon)
            self._daemons[kind] = self._started(command, READY[kind])
            if kind == "serve":  # once it answers, it also listens to signals
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=60).close()
        else:
            self._check(step, self.run(command, step))

    def run(self, command: str, step: Step) -> str:
        """Run a command that ends by itself; what it printed."""
        if "$CALL" in command:
            self._env["CALL"] = self._ring() if NEEDS_RINGING in command else self._call()
        env = {**self._env, **self._verifying(command)}
        ran = subprocess.run(
            ["bash", "-c", command],
            env=env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert ran.returncode == 0, f"{step.command}: {ran.returncode}\n{ran.stdout}"
        self._look_for_secrets(ran.stdout)
        if "control hangup" in command:
            self._env.pop("CALL")
        return ran.stdout

    def run_python(self, text: str) -> str:
        """Run a whole program of a page, its client sent to the fake."""
        at_the_fake = f'base_url="{self._api}/v2", public_url='
        program = self._filled_in(text).replace("public_url=", at_the_fake)
        env = {**self._env, "MEDIASERVER_AUTH_TOKEN": SECRET}
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env=env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    def _end(self, daemon: Daemon) -> None:
        code = daemon.end()
        assert code == 0, f"{daemon.command}: {code}\n{daemon.output}"
        assert not re.search("Traceback|refused", daemon.output), daemon.output
        self._look_for_secrets(daemon.output)

    def _look_for_secrets(self, output: str) -> None:
        assert not re.search(rf"{KEY}|{SECRET}|\bt1\.[\w-]{{32}}\.", output)

    def _lay_out(self) -> None:
        """The files a reader would have around him: the checkout, clips, a saved delivery."""
        (self.folder / "examples").symlink_to(REPOSITORY / "examples")
        shutil.copy(REPOSITORY / "mediaserver/carrier/speech.wav", self.folder / "menu.wav")
        for name in ("greeting.wav", "hello.wav"):
            self._cut_clip(name, 1.5)
        key, at = SigningKey.generate(), str(int(time.time()))
        event = {"event_type": "call.answered", "id": "4f3c5f0e-0000-4000-8000-000000000000"}
        body = json.dumps({"data": {**event, "payload": {}}}).encode()
        signature = key.sign(f"{at}|".encode() + body).signature
        headers = {
            "telnyx-timestamp": at,
            "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
        }
        (self.folder / "delivery.json").write_bytes(body)
        (self.folder / "headers.txt").write_text("".join(f"{k}: {v}\n" for k, v in headers.items()))
        self._delivery_key = base64.b64encode(bytes(key.verify_key)).decode()

    def _cut_clip(self, name: str, seconds: float) -> None:
        """The beginning of the shipped speech: short, so that the page is soon read."""
        speech = str(REPOSITORY / "mediaserver/carrier/speech.wav")
        with wave.open(speech) as whole, wave.open(str(self.folder / name), "wb") as clip:
            clip.setparams(whole.getparams())
            clip.writeframes(whole.readframes(round(seconds * whole.getframerate())))

    def _verifying(self, command: str) -> dict[str, str]:
        """The saved delivery is signed with a key of its own."""
        if "webhook verify" in command:
            return {"TELNYX_PUBLIC_KEY": self._delivery_key}
        return {}

    def _filled_in(self, text: str) -> str:
        given = {
            "https://media.example.com": f"http://127.0.0.1:{self._port}",
            "127.0.0.1:8080": f"127.0.0.1:{self._port}",
            "YOUR-API-KEY": KEY,
            "YOUR-PUBLIC-KEY": getattr(self, "_public_key", ""),
            "A-LONG-SECRET": SECRET,
        }
        for name, value in given.items():
            text = text.replace(name, value)
        # Ports of forks, which others on the machine may have.
        text = re.sub(r"\b2000([0-9])\b", lambda found: f"{self._fork_port + int(found[1])}", text)
        text = re.sub(r"--phone$", "--phone --phone-port 0", text)
        text = re.sub(r"^mediaserver phone\b", "\\g<0> --port 0", text)
        text = re.sub(r"^mediaserver carrier$", f"\\g<0> --port {self._other_port}", text)
        # A busy machine may be too slow to measure by, and echoes may come late: no matter here.
        text = re.sub("^mediaserver simulate", "\\g<0> --max-late 60000", text)
        return text.replace("--expect-echo", "--expect-echo --linger 30")

    def _started(self, command: str, ready: str) -> Daemon:
        return Daemon(command, ready, self._env, self.folder)

    def _check(self, step: Step, output: str) -> None:
        """Every line shown, but "…", comes in the output, in that order."""
        came = iter([normal(line) for line in output.splitlines()])
        for line in step.shown:
            if line.strip() not in ("", "…"):
                assert normal(line) in came, (
                    f"not in the output of {step.command}:\n{line}\n{output}"
                )
        if "control dial" in step.command:
            self._env["CALL"] = re.findall(r"call_control_id: (\S+)", output)[0]

    def _call(self) -> str:
        """The call of the page, or a new one that is up."""
        if "CALL" not in self._env:
            body = {"connection_id": "1", "from": "+13122010094", "to": "+13122123456"}
            self._env["CALL"] = self._post("/v2/calls", body)
        return self._env["CALL"]

    def _ring(self) -> str:
        return self._post("/fake/ring", {})

    def _post(self, path: str, body: dict[str, str]) -> str:
        request = urllib.request.Request(
            f"{self._api}{path}",
            json.dumps(body).encode(),
            {"authorization": f"Bearer {KEY}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            data = json.loads(answer.read())["data"]
        call: str = data["call_control_id"]
        return call
