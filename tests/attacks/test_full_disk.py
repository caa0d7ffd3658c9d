"""A disk that is full, and then is not: calls go on, files are playable, writing resumes."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import subprocess
import sys
import time
import wave
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mediaserver.afterwards.pending import PENDING
from mediaserver.carrier import CallPlan, place_call
from mediaserver.history.call_store import CallStore
from mediaserver.observer import StreamRequest
from mediaserver.processors.builtin.recording import formats, tape
from mediaserver.processors.builtin.recording.names import Names
from mediaserver.processors.builtin.recording.pieces import Piece
from mediaserver.processors.builtin.recording.sidecar import decode_sidecar
from mediaserver.settings import ProcessorSetting, Settings
from tests.asgi.hosting import served
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
        serving(
            tmp_path / "server.log", "--processor", f"record?directory={folder}&layout=tracks"
        ) as server,
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


class Disk:
    """Notes how the writing goes; in the thread that writes."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def disk_failed(self, exc: OSError) -> None:
        self.failures.append(exc.strerror)

    def disk_works(self) -> None:
        """It is of no interest here."""


async def test_what_was_given_up_is_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than two minutes without room: the oldest goes, and what follows keeps its place."""
    monkeypatch.setattr(tape, "RETRY_EVERY_S", 0.05)
    second = np.full(8000, 7, np.int16)
    # Files of this very process: a folder that cannot be made, then one that can.
    blocker = tmp_path / "recordings"
    blocker.symlink_to("/dev/full/recordings")
    disk = Disk()
    written = tape.Tape(partial(Names(blocker, "v3:a").audio, "inbound"), 8000, 1, disk)
    for at in range(140):
        written.put(0, Piece(float(at), second, 8000))
    await asyncio.to_thread(wait_until, lambda: len(disk.failures) > 1)
    assert written.lost_s == 20
    blocker.unlink()
    for at in range(140, 150):
        written.put(0, Piece(float(at), second, 8000))
    await written.finish(asyncio.get_running_loop())
    _, n_samples, samples = recorded(tmp_path / "recordings")
    heard = np.frombuffer(samples, np.int16)
    assert n_samples == 150 * 8000
    # What came when there was room again may have found the disk's two minutes full still.
    assert 20 <= written.lost_s <= 30
    n_lost = round(written.lost_s) * 8000
    assert not heard[:n_lost].any()
    assert (heard[n_lost:] == 7).all()


async def test_a_recording_that_cannot_be_written_ends_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that cannot be made: one error, one count; the call is carried to its end."""
    nowhere = tmp_path / "file"
    nowhere.write_bytes(b"")
    record = ProcessorSetting("record", {"directory": str(nowhere)})
    settings = Settings(
        port=0, processors=(record, ProcessorSetting("echo")), backlog_ms=30_000, catch_up=False
    )
    async with served(settings, None) as server:
        report = await place_call(server.url, CallPlan(seconds=2.0))
        await asyncio.to_thread(wait_until, lambda: server.service.n_calls == 0)
        counters = dict(server.service.counters)
    assert (report.lost, report.close_code) == (0, 1000)
    assert caplog.text.count("its recording cannot be written: Not a directory") == 1
    assert caplog.text.count("its recording lacks") == 1
    assert counters["recordings_stopped"] == counters["recordings_with_gaps"] == 1
    assert "processor_errors" not in counters


async def test_a_format_that_does_not_fit_leaves_the_wav(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other format finds no room: the WAV file stays, and the JSON file names it."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(formats, "_encode", full)
    record = ProcessorSetting("record", {"directory": str(tmp_path), "format": "flac"})
    async with served(Settings(port=0, processors=(record,)), None) as server:
        await place_call(server.url, CallPlan(seconds=1.0))
        await asyncio.to_thread(wait_until, lambda: PENDING.n == 0)
        await asyncio.sleep(0)
        assert server.service.counters["recordings_not_converted"] == 1
    assert_wav_stays(tmp_path)


def assert_wav_stays(folder: Path) -> None:
    (path,) = folder.glob("*.json")
    sidecar = decode_sidecar(path.read_bytes())
    assert sidecar.files == (path.with_suffix(".wav").name,)
    assert {each.suffix for each in folder.iterdir()} == {".json", ".wav"}


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
