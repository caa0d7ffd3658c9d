"""Sources that give nothing, too much, no audio, or never wait: the play fails, calls go on."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.errors import AudioFormatError
from mediaserver.media.frames import Frame, check_audio
from mediaserver.processors.chain import Chain
from mediaserver.server.calls.audio.sources import Chunks, samples_of_file
from tests.attacks import sourcebots
from tests.attacks.attacking import good_calls, wait_until
from tests.attacks.conftest import SOURCE_BOT
from tests.server.rawclient import RawCall, Server

pytestmark = pytest.mark.xdist_group("attacks")  # they share a server


def test_odd_sources_fail_and_calls_go_on(server: Server) -> None:
    """Each ends as failed by its source, or goes on in its time; no other call is harmed."""
    log = server.log
    with good_calls(server), RawCall(server.port, path=f"/media?processor={SOURCE_BOT}") as call:
        call.begin()
        wait_until(lambda: "all sources were tried" in log.read_text())
    for live in (False, True):
        for name in sourcebots.SOURCES:
            assert f"{name}, live {live}: failed (source)" in log.read_text()
        for name in sourcebots.ENDLESS:
            assert f"{name}, live {live}: " in log.read_text()
    assert "has given nothing for 1000 chunks" in log.read_text()
    assert "7200 s of audio at once" in log.read_text()


def test_who_waits_may_give_nothing_for_ever() -> None:
    """An empty chunk every 20 ms, for minutes."""
    chunks = Chunks(8000)
    for n in range(20_000):
        chunks.samples(b"", n * 0.02)


def test_what_is_too_long_is_refused_before_it_is_copied() -> None:
    """Of an array of 1 GB nothing is touched but its type and its length."""
    huge = np.broadcast_to(np.float64(0), 1 << 27)
    with pytest.raises(AudioFormatError, match="float64"):
        check_audio(huge, 8000)
    with pytest.raises(AudioFormatError, match="67109 s of audio at once"):
        check_audio(np.broadcast_to(np.int16(0), 1 << 29), 8000)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full", "."])
def test_what_is_no_regular_file_is_not_read(name: str) -> None:
    """A device or a pipe may never end: the thread would be lost for all other files."""
    with pytest.raises(AudioFormatError, match="regular file"):
        samples_of_file(name, 8000)


SECOND = np.zeros(8000, np.int16)


@pytest.mark.parametrize(
    "odd",
    [
        7,
        SECOND,
        Frame(SECOND.astype(float), 8000, "inbound", 0, 0.0),  # type: ignore[arg-type]  # odd
        Frame(SECOND, 0, "inbound", 0, 0.0),
        Frame(SECOND, 10**9, "inbound", 0, 0.0),
        Frame(SECOND, 8000.5, "inbound", 0, 0.0),  # type: ignore[arg-type]  # odd
        Frame(SECOND, "8000", "inbound", 0, 0.0),  # type: ignore[arg-type]  # odd
        Frame(SECOND, 8000, "sideways", 0, 0.0),  # type: ignore[arg-type]  # odd
    ],
)
def test_what_a_filter_returns_is_its_own_fault(odd: object) -> None:
    """It is told apart where it comes from: the stages behind it never see it."""

    class Stage:
        """Returns it."""

        name = "odd"

        def process(self, frame: Frame) -> Frame | None:
            return odd  # type: ignore[return-value]  # what this is about

        def close(self) -> None:
            """Nothing to do."""

    class Behind(Stage):
        """Notes what comes."""

        name = "behind"

        def process(self, frame: Frame) -> Frame | None:
            seen.append(frame)
            return frame

    seen: list[Frame] = []
    failed: list[str] = []
    good = Frame(SECOND, 8000, "inbound", 0, 0.0)
    chain = Chain([Stage(), Behind()], lambda name, _: failed.append(name))
    chain.run(good)
    assert failed == ["odd"]
    assert seen == [good]
