"""A disk that is full, and then is not: calls go on, files are playable, writing resumes."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from mediaserver.history.call_store import CallStore
from mediaserver.media.frames import Frame
from mediaserver.observer import StreamRequest
from mediaserver.processors.builtin import record
from tests.attacks.attacking import SPOKEN, leave, wait_until
from tests.ports import free_port
from tests.server.rawclient import RawCall, Server, serving

# What one file of the server may hold while its disk is "full": it is what a quota or a full
# disk does to the writer, and needs no mount. 8,000 octets are half a second of the recording.
FULL_BYTES = 24_000
TONE = bytes([0x90]) * 160


def limit_files(server: Server, n_bytes: int) -> None:
    """Let the server's files grow to ``n_bytes`` and no further."""
    hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (n_bytes, hard))


def speak(call: RawCall, seconds: float) -> None:
    """Audio of that length, some faster than it is heard."""
    for _ in range(round(seconds * 50)):
        call.send(call.spoken(TONE))
        time.sleep(0.004)


def recorded(folder: Path) -> tuple[Path, int, bytes]:
    """The only recording: its path, the samples by its header, and the samples there are."""
    (path,) = folder.glob("*-inbound.wav")
    with wave.open(str(path)) as file:
        n_samples = file.getnframes()
        return path, n_samples, file.readframes(n_samples)


def test_a_recording_stops_and_resumes(tmp_path: Path) -> None:
    """Playable to its last sample all the while; said once; the same file goes on, in its place."""
    folder = tmp_path / "recordings"
    with (
        serving(tmp_path / "server.log", "--processor", f"record?directory={folder}") as server,
        RawCall(server.port) as call,
    ):
        limit_files(server, FULL_BYTES)
        call.begin()
        speak(call, 4.0)
        wait_until(lambda: "cannot be written" in server.log.read_text())
        path, n_samples, samples = recorded(folder)
        assert 8000 <= n_samples <= (FULL_BYTES - 44) // 2
        assert len(samples) == 2 * n_samples
        assert path.stat().st_size <= FULL_BYTES
        limit_files(server, resource.RLIM_INFINITY)
        speak(call, 2.0)
        wait_until(lambda: "its recording goes on" in server.log.read_text())
        leave(call)
    log = server.log.read_text()
    assert log.count("cannot be written") == 1
    assert "File too large" in log
    _, n_samples, samples = recorded(folder)
    assert n_samples >= 5 * 8000
    assert samples[: 2 * 160] == samples[-2 * 160 :] != bytes(2 * 160)


def test_what_was_given_up_is_silence(tmp_path: Path) -> None:
    """More than a minute without room: the oldest goes, and what follows keeps its place."""
    second = np.full(8000, 7, np.int16)
    second.flags.writeable = False
    frames = [Frame(second, 8000, "inbound", i, float(i)) for i in range(90)]
    # Files of this very process: a folder that cannot be made, then one that can.
    blocker = tmp_path / "recordings"
    blocker.symlink_to("/dev/full/recordings")
    tape = record.TrackWriter(blocker, "v3:a", frames[0])
    for frame in frames[:80]:
        tape.add(frame)
        tape.cut()
        with pytest.raises(OSError, match="recordings"):
            tape.write()
    assert tape.lost_s == 80
    blocker.unlink()
    for frame in frames[80:]:
        tape.add(frame)
    tape.finish()
    _, n_samples, samples = recorded(tmp_path / "recordings")
    heard = np.frombuffer(samples, np.int16)
    assert n_samples == 90 * 8000
    assert tape.lost_s == 20
    assert not heard[: 20 * 8000].any()
    assert (heard[20 * 8000 :] == 7).all()


async def test_the_state_file_is_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite's own full file: said once; what was missed is written with the next call."""
    caplog.set_level("INFO")
    request = StreamRequest("L16", 16000, "rtp", "echo", {"text": "x" * 3000})
    store = CallStore(tmp_path / "state.db")
    store.opened("before", request)
    await store.live()
    await _pragma(store, "PRAGMA max_page_count = 1")
    for name in ("a", "b", "c"):
        store.opened(name, request)
    store.closed("b")
    await store.live()
    await _pragma(store, "PRAGMA max_page_count = 100000")
    store.closed("before")
    assert set(await store.live()) == {"a", "c"}
    await store.aclose()
    assert caplog.text.count("cannot be written") == 1
    assert caplog.text.count("is written again") == 1


async def _pragma(store: CallStore, statement: str) -> None:
    """Set something of the store's own connection, in its own thread."""
    store._thread.submit(lambda: store._file.execute(statement).fetchall()).result()


def test_calls_go_on_where_the_log_cannot_be_written() -> None:
    """``/dev/full`` as the log: every line fails, and no call does."""
    port = free_port()
    command = [sys.executable, "-m", "mediaserver", "serve", "--port", str(port)]
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(
            [*command, "--processor", "echo", "--log-level", "debug"], stdout=full, stderr=full
        )
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None
        with RawCall(port) as call:
            call.begin()
            assert call.echoed(SPOKEN) == SPOKEN
            call.send(b"\x82\x80\0\0\0\0")  # is refused, which is logged
            leave(call)
        with RawCall(port) as call:
            call.begin()
            assert call.echoed(SPOKEN) == SPOKEN
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        RawCall(port).socket.close()
    except OSError:
        return False
    return True
