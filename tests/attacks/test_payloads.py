"""Payloads and messages made to cost time: each is judged before any work is done on it."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from telephony_codecs import PayloadError, codec
from telephony_codecs.amrwb_framing import PACKINGS, pack, unpack
from tests.attacks.attacking import FULL, flood, good_calls, leave, sized, wait_until
from tests.server.rawclient import TEXT, RawCall, Server, frame

pytestmark = pytest.mark.xdist_group("attacks")  # they share a server

RATES = {"PCMU": 8000, "PCMA": 8000, "G722": 16000, "L16": 16000, "OPUS": 16000, "AMR-WB": 16000}
NO_DATA = b"\x7c"
MIB = 1 << 20


def hostile(rng: random.Random) -> bytes:
    """Octets of any length: at random, all alike, or what AMR-WB or Opus takes for many frames."""
    n = rng.choice((0, 1, 2, 33, 160, 751, 3_051, 8_000, 8_001, 32_000, 100_000, 400_000))
    match rng.randrange(4):
        case 0:
            return rng.randbytes(n)
        case 1:
            return bytes([rng.randrange(256)]) * n
        case 2:
            return pack([NO_DATA] * min(n, 1500), rng.choice(PACKINGS))
        case _:
            return bytes([rng.randrange(256), rng.randrange(256)]) + rng.randbytes(n // 40)


@pytest.mark.parametrize("name", RATES)
def test_no_payload_holds_more_than_a_second(name: str) -> None:
    """It is decoded to a second at most, or refused; in full the longest time is printed."""
    rng = random.Random(7)
    decoder = codec(name).decoder(RATES[name], max_payload_s=1.0)
    longest = 0.0
    for _ in range(sized(150, 4_000)):
        payload = hostile(rng)
        began = time.thread_time()
        try:
            samples = decoder.decode(payload)
        except PayloadError:
            samples = np.zeros(0, np.int16)
        longest = max(longest, time.thread_time() - began)
        assert len(samples) <= decoder.rate_hz
    if FULL:
        print(f"\n{name}: longest {1000 * longest:.2f} ms of CPU")


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_long_payload_is_refused_by_its_length(packing: str) -> None:
    """Nothing of it is looked at; one that is short enough, but of many frames, is counted."""
    with pytest.raises(PayloadError, match="octets, at most"):
        unpack(b"\xff" * 400_000, packing, 50)
    with pytest.raises(PayloadError, match="more than 50 frames"):
        unpack(pack([NO_DATA] * 51, packing), packing, 50)
    assert len(unpack(pack([NO_DATA] * 50, packing), packing, 50)) == 50


@pytest.mark.parametrize("n", [100_000, 400_000])
def test_amr_wb_of_ones(server: Server, n: int) -> None:
    """What stood still for 1.6 s, and then killed a worker."""
    with good_calls(server), RawCall(server.port) as attacker:
        attacker.begin("AMR-WB", 16000)
        for _ in range(sized(3, 200)):
            attacker.send(attacker.spoken(b"\xff" * n))
        leave(attacker)
        stream = attacker.stream_id
    wait_until(lambda: f"{stream}: refused messages: " in server.log.read_text())


def test_a_second_in_each_message(server: Server) -> None:
    """Legal payloads that cost most for their octets: beyond ten seconds they are not decoded."""
    with good_calls(server), RawCall(server.port) as attacker:
        attacker.begin("AMR-WB", 16000)
        for _ in range(sized(30, 1_000)):
            attacker.send(attacker.spoken(pack([NO_DATA] * 50, "be")))
        leave(attacker)
        stream = attacker.stream_id
    wait_until(lambda: f"{stream}: refused messages: " in server.log.read_text())
    assert "'too_much_audio': " in server.log.read_text().partition(f"{stream}: refused")[2]


def test_long_audio_is_refused_and_the_call_goes_on(server: Server) -> None:
    """200 messages of 30 s."""
    with good_calls(server), RawCall(server.port) as attacker:
        attacker.begin()
        n = sized(10, 200)
        for _ in range(n):
            attacker.send(attacker.spoken(b"\xff" * 240_000))
        assert flood(attacker, lambda _: b"", 0) == 0
        stream = attacker.stream_id
    wait_until(lambda: f"{stream}: refused messages: {{'too_long': {n}}}" in server.log.read_text())


JSON = {
    "lists": b"[" + b"[]," * (MIB // 3 - 10) + b"[]]",
    "objects": b'{"event":"x","a":[' + b"{}," * (MIB // 3 - 20) + b"{}]}",
    "depth": b"[" * (MIB - 10),
    "keys": b'{"event":"x"' + b"".join(b',"%d":1' % i for i in range(80_000)) + b"}",
    "parameters": b'{"event":"start","start":{"custom_parameters":['
    + b'{"name":1,"value":2},' * 3_000
    + b"{}]}}",
    "a number": b'{"event":"dtmf","dtmf":{"digit":"1"},"sequence_number":' + b"1" * 30_000 + b"}",
    "a key pressed": b'{"event":"dtmf","dtmf":{"digit":"' + b"1" * 30_000 + b'"}}',
}


@pytest.mark.parametrize("kind", JSON)
def test_json_made_to_cost_time(server: Server, kind: str) -> None:
    """1 MiB of lists was decoded up to 18 times: the call goes on, and so do others."""
    with good_calls(server), RawCall(server.port) as attacker:
        attacker.begin()
        for _ in range(sized(2, 200)):
            attacker.send(frame(TEXT, JSON[kind]))
        assert flood(attacker, lambda _: b"", 0) == 0
