"""Who gets the recordings of ended calls, and which files those are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.history.records import record_of
from mediaserver.history.stores import Limits
from mediaserver.history.writer import open_store
from mediaserver.observer import CallSummary
from mediaserver.settings import ProcessorSetting
from tests.monitor.live.feeds import LISTENER, of_call, viewer
from tests.monitor.live.test_pages import served
from tests.server.watching import soon

CALL_ID = "v3:a/1"


def first(number: object = 1) -> str:
    return of_call(CALL_ID, f"recordings/{number}")


def kept(history: Path, recordings: Sequence[str], started_at: float = 1000.25) -> None:
    """The history has an ended call with these recordings."""
    summary = CallSummary(
        call_id=CALL_ID, reason="stop", started_at=started_at, recordings=tuple(recordings)
    )
    store = open_store(history, Limits(36500, 1 << 20))
    store.put([record_of(summary, started_at + 10)])
    store.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_record_wrote_comes_back(
    workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Octet for octet; it is logged and counted, and a live call has none yet."""
    caplog.set_level("INFO")
    record = ProcessorSetting("record", {"directory": str(tmp_path / "r")})
    chain, history = (record, ProcessorSetting("echo")), str(tmp_path / "calls.db")
    async with (
        served(*chain, workers=workers, history=history) as server,
        viewer(server, LISTENER) as client,
    ):
        async with FakeCall.connect(server.url, CallPlan(call_control_id=CALL_ID)) as call:
            await call.send_payload(bytes(range(160)))
            await call.wait_until(lambda: len(call.received) > 0)
            assert (await client.get(first())).status_code == 404
        async with asyncio.timeout(20):
            while (answer := await client.get(first())).status_code != 200:  # noqa: ASYNC110 (it is written soon)
                await asyncio.sleep(0.05)
        [file] = (tmp_path / "r").glob("*.wav")
        assert answer.content == file.read_bytes()
        assert len(answer.content) > 44
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["cache-control"] == "no-store"
        assert server.service.counters["recordings_fetched"] == 1
        assert "recording 1 of call v3:a/1 is fetched from 127.0.0.1" in caplog.text


async def test_who_may_hear_them(tmp_path: Path) -> None:
    """Only who has the listener's token, and nobody where none is set."""
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    kept(tmp_path / "calls.db", [str(tmp_path / "a.wav")])
    history = str(tmp_path / "calls.db")
    async with served(history=history) as server:
        async with viewer(server) as client:
            assert (await client.get(first())).status_code == 401
            assert server.service.counters["recordings_fetched"] == 0
        async with viewer(server, LISTENER) as client:
            assert (await client.get(first())).content == b"RIFF"
    async with served(history=history, listen_token=None) as server, viewer(server) as client:
        assert (await client.get(first())).status_code == 403
    async with served() as server, viewer(server, LISTENER) as client:
        answer = await client.get(first())
        assert (answer.status_code, answer.json()) == (
            404,
            {"error": "no such call is in the history"},
        )


async def test_only_files_of_audio_that_the_record_names(tmp_path: Path) -> None:
    """All else is a 404 that says why, and opens nothing."""
    (tmp_path / "calls.toml").write_text("a secret")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "link.wav").symlink_to("calls.toml")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "good.flac").write_bytes(b"fLaC")
    (tmp_path / "empty.ogg").touch()
    no_file = "it is no ordinary file"
    expected = {
        "gone.wav": "No such file",
        "calls.toml": "is not a file of .wav, .flac, .ogg",
        "folder.wav": no_file,
        "link.wav": no_file,
        "pipe.wav": no_file,
        "nul\0.wav": "null",
        f"{'x' * 300}.wav": "File name too long",
    }
    places = [str(tmp_path / name) for name in expected]
    urls = ["s3://bucket/calls/a.wav", "file:///etc/a.wav"]
    good = [str(tmp_path / "good.flac"), str(tmp_path / "empty.ogg")]
    kept(tmp_path / "calls.db", [*places, *urls, *good])
    history = str(tmp_path / "calls.db")
    async with served(history=history) as server, viewer(server, LISTENER) as client:
        whys = [*expected.values(), *(["not on this machine: it went to"] * 2)]
        for number, why in enumerate(whys, 1):
            answer = await client.get(first(number))
            assert (answer.status_code, why in answer.json()["error"]) == (404, True), answer.text
        n = len(whys)
        for number, body, kind in ((n + 1, b"fLaC", "audio/flac"), (n + 2, b"", "audio/ogg")):
            answer = await client.get(first(number))
            assert (answer.content, answer.headers["content-type"]) == (body, kind)
        for other in (0, n + 3, -1, "x", "1.5", "٣", "9" * 5000, "..%2Fcalls.toml"):
            assert (await client.get(first(other))).status_code == 404, other
        assert (await client.get(of_call("v3:other", "recordings/1"))).status_code == 404
        assert server.service.counters["recordings_fetched"] == 2


async def test_a_call_with_two_streams(tmp_path: Path) -> None:
    """Has two records: the newest, or the one that is asked for."""
    for name, started_at in (("a", 1000.1), ("b", 2000.7)):
        (tmp_path / f"{name}.wav").write_text(name)
        kept(tmp_path / "calls.db", [str(tmp_path / f"{name}.wav")], started_at)
    history = str(tmp_path / "calls.db")
    async with served(history=history) as server, viewer(server, LISTENER) as client:
        for asked, status, text in (
            ({}, 200, "b"),
            ({"started_at": "1000.1"}, 200, "a"),
            ({"started_at": "2000.7"}, 200, "b"),
            ({"started_at": "3000"}, 404, '{"error":"no such call is in the history"}'),
            ({"started_at": "nan"}, 404, '{"error":"no such call is in the history"}'),
            ({"started_at": "soon"}, 400, None),
        ):
            answer = await client.get(first(), params=asked)
            assert answer.status_code == status
            assert text is None or answer.text == text


async def test_a_file_that_gets_shorter_is_no_whole_answer(tmp_path: Path) -> None:
    """The connection is cut, and the server goes on."""
    file = tmp_path / "long.wav"
    file.touch()
    os.truncate(file, 200 << 20)
    kept(tmp_path / "calls.db", [str(file)])
    history = str(tmp_path / "calls.db")
    async with served(history=history) as server, viewer(server, LISTENER) as client:

        async def fetch() -> None:
            async with client.stream("GET", first()) as answer:
                assert answer.headers["content-length"] == str(200 << 20)
                async for _ in answer.aiter_raw():
                    os.truncate(file, 1 << 20)

        with pytest.raises(httpx.TransportError):
            await asyncio.wait_for(fetch(), 20)
        assert (await client.get(first())).status_code == 200
        await soon(lambda: server.service.counters["recordings_fetched"] == 2)


async def test_the_page_is_told_where_the_phone_is() -> None:
    """Nowhere, until there is one."""
    async with served() as server, viewer(server) as client:
        assert (await client.get("/live/rights")).json()["phone"] is None
        server.show_phone("http://127.0.0.1:8087/phone/")
        rights = (await client.get("/live/rights")).json()
        assert rights["phone"] == "http://127.0.0.1:8087/phone/"
