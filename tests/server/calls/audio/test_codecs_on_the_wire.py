"""Every codec, both ways, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from pybase64 import b64encode

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, CallReport, FakeCall, place_call, place_calls, speech
from mediaserver.carrier.plan import at_rate, can_encode
from mediaserver.processors.api import Hint
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import ProcessorSetting, Settings
from telephony_codecs import Int16Array, Resampler, codec, libraries
from tests.server.conftest import Serving
from tests.server.playbots import HELD, VirtualStream, call_of

SECONDS = 3.2
FLOORS_DB = {"PCMU": 33.0, "PCMA": 33.0, "G722": 25.0, "OPUS": 8.0, "AMR-WB": 8.0, "L16": 40.0}
"""What is left of speech after the last codec of the way; a resampler takes part of it."""


class Way(NamedTuple):
    """In and out, by codec and rate; what ``start`` says of the rate where that differs."""

    codec: str
    rate_hz: int
    send_codec: str
    send_rate_hz: int
    announced_rate_hz: int | None = None

    @property
    def name(self) -> str:
        """As the test is called."""
        announced = f" announced as {self.announced_rate_hz}" if self.announced_rate_hz else ""
        return f"{self.codec} {self.rate_hz}{announced} to {self.send_codec} {self.send_rate_hz}"

    @property
    def plan(self) -> CallPlan:
        """One call."""
        return CallPlan(
            codec=self.codec,
            rate_hz=self.rate_hz,
            send_codec=self.send_codec,
            send_rate_hz=self.send_rate_hz,
            announced_rate_hz=self.announced_rate_hz,
            seconds=SECONDS,
            linger_s=20,
        )

    @property
    def possible(self) -> bool:
        """This machine can encode it."""
        return can_encode("AMR-WB") or self.send_codec != "AMR-WB"


ROUND = [
    Way(name, rate_hz, name, rate_hz)
    for name in ("PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16")
    for rate_hz in codec(name).rates_hz
]
ACROSS = [
    Way("PCMU", 8000, "PCMA", 8000),
    Way("PCMU", 8000, "OPUS", 48000),
    Way("PCMA", 8000, "G722", 16000),
    Way("G722", 16000, "L16", 24000),
    Way("G722", 16000, "PCMU", 8000, announced_rate_hz=8000),
    Way("OPUS", 48000, "PCMA", 8000),
    Way("OPUS", 24000, "L16", 22050),
    Way("AMR-WB", 16000, "OPUS", 16000),
    Way("AMR-WB", 16000, "PCMU", 8000),
    Way("L16", 16000, "PCMU", 8000),
    Way("L16", 44100, "G722", 16000),
    Way("L16", 48000, "AMR-WB", 16000),
]


@pytest.fixture(scope="module")
def reports() -> dict[Way, CallReport]:
    """Each way held as one call, all at once, on one server that echoes."""

    async def hold() -> dict[Way, CallReport]:
        ways = [way for way in (*ROUND, *ACROSS) if way.possible]
        # A stall of a busy machine must not drop audio: the backlog is not what is tested.
        settings = Settings(
            port=0, processors=(ProcessorSetting("echo"),), backlog_ms=30_000, catch_up=False
        )
        async with MediaServer(settings) as server:
            found = await place_calls(server.url, [way.plan for way in ways])
        return dict(zip(ways, found, strict=True))

    return asyncio.run(hold())


# The calls of ``reports`` are held once: whoever looks at one is in the same process.
of_reports = pytest.mark.xdist_group("reports")


def report_of(reports: dict[Way, CallReport], way: Way) -> CallReport:
    if way not in reports:
        pytest.skip("this machine has no AMR-WB encoder (libvo-amrwbenc)")
    return reports[way]


def declared_ms(way: Way) -> float:
    """The delay that the parts between decoded and heard audio say they have."""
    there = codec(way.send_codec)
    rate_hz = there.audio_rate_hz(way.send_rate_hz)
    n_samples = there.encoder(rate_hz).delay_samples + there.decoder(rate_hz).delay_samples
    if way.rate_hz != rate_hz:
        n_samples += Resampler(way.rate_hz, rate_hz).delay_samples
    return 1000 * n_samples / rate_hz


@of_reports
@pytest.mark.parametrize("way", [*ROUND, *ACROSS], ids=lambda way: way.name)
def test_an_echo_is_whole_and_no_later_or_noisier_than_its_parts(
    reports: dict[Way, CallReport],
    way: Way,
    request: pytest.FixtureRequest,
) -> None:
    """All of it comes back, late by the declared delays, as good as the codec allows."""
    report = report_of(reports, way)
    request.node.user_properties.append(("lag_ms", report.lag_ms))
    request.node.user_properties.append(("snr_db", report.snr_db))
    assert report.echo_problem is None
    assert report.returned_s >= SECONDS
    assert report.lag_ms == pytest.approx(declared_ms(way), abs=0.2)
    assert report.snr_db is not None
    assert report.snr_db >= FLOORS_DB[way.send_codec]


@of_reports
@pytest.mark.parametrize("way", ROUND, ids=lambda way: way.name)
def test_codecs_that_lose_nothing_echo_bit_for_bit(
    reports: dict[Way, CallReport], way: Way
) -> None:
    """The same codec both ways is exact for G.711 and L16, and for no other."""
    report = report_of(reports, way)
    assert report.bit_exact is (way.codec in ("PCMU", "PCMA", "L16"))
    assert (report.snr_db == math.inf) is report.bit_exact


# L16: which octet comes first.


def l16_payloads(order: str, rate_hz: int = 16000) -> tuple[list[bytes], Int16Array]:
    """Speech at 20 ms a payload in this order, and its samples."""
    n = rate_hz // 50
    samples = at_rate(speech(), rate_hz)[: 70 * n]
    octets = samples.astype("<i2" if order == "little" else ">i2").tobytes()
    return [octets[at : at + 2 * n] for at in range(0, len(octets), 2 * n)], samples


@pytest.mark.parametrize("order", ["little", "big"])
async def test_auto_finds_the_byte_order_of_l16(
    serving: Serving, caplog: pytest.LogCaptureFixture, order: str
) -> None:
    """The echo is the speech that was sent; the verdict is on the call, and logged once."""
    payloads, samples = l16_payloads(order)
    plan = CallPlan(codec="L16", rate_hz=16000, payloads=payloads, seconds=1.4)
    with caplog.at_level(logging.INFO, logger="mediaserver"):
        async with serving(HELD, "echo", l16_byte_order="auto") as server:
            async with FakeCall.connect(server.url, plan) as call:
                held = await call_of(plan)
                verdicts = [held.l16_byte_order]
                await call.speak()
                verdicts.append(held.l16_byte_order)
                heard = call.intake.arrivals.audio()
    assert verdicts == [None, order]
    # What is too faint to tell is read as little-endian: at the very beginning at most.
    loud = int(np.argmax(np.abs(samples.astype(np.int32)) > 200)) // 320 * 320
    assert loud < len(samples) // 4
    assert np.array_equal(heard[loud : len(samples)], samples[loud:])
    said = [r.getMessage() for r in caplog.records if "L16 is read as" in r.getMessage()]
    assert said == [f"call {plan.call_control_id}: L16 is read as {order}-endian"]


async def test_a_set_byte_order_is_not_questioned(serving: Serving) -> None:
    """Big-endian comes in and goes out as set; other codecs have no byte order."""
    payloads, samples = l16_payloads("big")
    plan = CallPlan(codec="L16", rate_hz=16000, payloads=payloads, seconds=0.5)
    other = CallPlan(seconds=0.2)
    async with serving(HELD, "echo", l16_byte_order="big") as server:
        async with FakeCall.connect(server.url, plan) as call:
            await call.speak()
            assert (await call_of(plan)).l16_byte_order == "big"
            heard = call.intake.arrivals.audio()
        async with FakeCall.connect(server.url, other) as call:
            await call.speak()
            assert (await call_of(other)).l16_byte_order is None
    # The fake reads little-endian.
    assert np.array_equal(heard.byteswap(), samples[: len(heard)])
    assert len(heard) == 8000


@pytest.mark.parametrize(
    ("announced_hz", "payload_hz", "hinted"),
    [
        (8000, 16000, True),
        (16000, 48000, True),
        (16000, 8000, True),
        (16000, 16000, False),
        (16000, 22050, False),
    ],
)
async def test_a_rate_that_contradicts_the_pace_is_hinted(
    announced_hz: int, payload_hz: int, hinted: bool
) -> None:
    """Payloads twice as long as the announced rate allows are named; honest ones are not."""
    plan = CallPlan(codec="L16", rate_hz=payload_hz, announced_rate_hz=announced_hz)
    service = SingleProcessService(Settings(processors=(HELD,), reconnect_grace_s=0))
    stream = VirtualStream(service, plan)
    call = await call_of(plan)
    events = call.events()
    payload = b64encode(bytes(2 * payload_hz // 50)).decode()
    session = stream.connection.session
    assert session is not None
    for chunk in range(350):
        at_s = chunk * 0.02
        stream.media(at_s, chunk + 1, payload)
        if chunk % 50 == 49:
            session.look(stream.origin + at_s)
    stream.stop(7.0)
    hints = [e for e in [e async for e in events] if isinstance(e, Hint)]
    await service.close()
    assert [hint.name for hint in hints] == ["rate_inbound"] * hinted
    assert all(str(announced_hz) in hint.text for hint in hints)


# AMR-WB where nothing can encode it.


@pytest.fixture
def no_amrwb_encoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine without libvo-amrwbenc, as far as the library finder knows."""
    find = libraries.system_library
    monkeypatch.setattr(
        libraries, "system_library", lambda name: () if "amr" in name else find(name)
    )
    can_encode.cache_clear()
    yield
    can_encode.cache_clear()


async def test_without_an_encoder_amr_wb_out_is_refused(
    serving: Serving, no_amrwb_encoder: None
) -> None:
    """The call is closed with 1003 and a reason that names what to use instead."""
    async with serving("echo") as server:
        report = await place_call(
            server.url, CallPlan(codec="AMR-WB", send_codec="PCMU", seconds=0.5)
        )
        assert report.problem is None, "decoding it needs no encoder"
        plan = CallPlan(codec="PCMU", custom_parameters={"send_codec": "AMR-WB"}, seconds=1.0)
        refused = await place_call(server.url, plan)
        assert server.service.counters["refused_format"] == 1
    assert refused.close_code == 1003
    assert "AMR-WB" in refused.close_reason
    assert "use G722, L16 or OPUS" in refused.close_reason


async def test_without_an_encoder_the_fake_wants_g722(
    serving: Serving, no_amrwb_encoder: None
) -> None:
    """A call in AMR-WB is answered in G722, at 16 kHz as well."""
    plan = CallPlan(codec="AMR-WB", seconds=1.0)
    assert (plan.out_codec, plan.out_rate_hz) == ("G722", 16000)
    async with serving("echo") as server:
        report = await place_call(server.url, plan)
    assert report.echo_problem is None
    assert report.snr_db is not None
    assert report.snr_db >= FLOORS_DB["G722"]
