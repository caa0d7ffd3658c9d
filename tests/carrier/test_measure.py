"""Figures of a call against calls whose figures are known."""

from __future__ import annotations

import math
from base64 import b64encode

import numpy as np
import pytest

from mediaserver.carrier.intake import Complaint, Intake
from mediaserver.carrier.measure import compare, measure
from mediaserver.carrier.plan import CallPlan, at_rate, speech
from mediaserver.carrier.record import Record, ReturnedMark, SentChunk
from mediaserver.carrier.script import voices
from telephony_codecs import codec

SPEECH = at_rate(speech(), 8000)


def echoed(
    plan: CallPlan,
    n_chunks: int = 50,
    *,
    after_s: float = 0.03,
    returned: list[bytes] | None = None,
) -> Record:
    """Return a call whose chunks came back ``after_s`` later, or as ``returned``."""
    record = Record(plan, Intake(plan), voices(plan))
    (lap,) = record.voices.values()
    chunk_s = plan.chunk_ms / 1000
    for k, payload in enumerate(lap[:n_chunks] if returned is None else returned):
        text = b64encode(payload).decode()
        answer = record.intake.accept(
            f'{{"event":"media","media":{{"payload":"{text}"}}}}', k * chunk_s + after_s
        )
        assert answer.complaint is None
    for k in range(n_chunks):
        record.sent.append(SentChunk("inbound", k, k * chunk_s, 0.001))
    return record


def test_an_exact_echo_is_exact() -> None:
    """Every chunk back after 30 ms, unchanged: infinite ratio, no lag, nothing lost."""
    report = measure(echoed(CallPlan()))
    assert (report.sent, report.sent_s, report.returned, report.returned_s) == (50, 1.0, 50, 1.0)
    assert report.round_trips_ms == pytest.approx([30.0] * 50)
    assert report.late_ms == pytest.approx([1.0] * 50)
    assert (report.lost, report.bit_exact) == (0, True)
    assert (report.snr_db, report.lag_ms) == (math.inf, 0.0)


def test_one_changed_sample_is_not_exact() -> None:
    """A single wrong code costs the exactness and gives a finite ratio."""
    plan = CallPlan()
    lap = list(voices(plan)["inbound"][:50])
    lap[20] = lap[20][:-1] + bytes([lap[20][-1] ^ 0x7F])
    report = measure(echoed(plan, returned=lap))
    assert report.bit_exact is False
    assert report.snr_db is not None
    assert 10 < report.snr_db < 90


def test_the_server_may_cut_its_messages_as_it_likes() -> None:
    """Round trips are matched by audio: 40 ms messages bring two chunks at once."""
    plan = CallPlan()
    lap = voices(plan)["inbound"][:50]
    pairs = [lap[k] + lap[k + 1] for k in range(0, 50, 2)]
    record = Record(plan, Intake(plan), {"inbound": lap})
    for k, payload in enumerate(pairs):
        text = b64encode(payload).decode()
        media = f'{{"event":"media","media":{{"payload":"{text}"}}}}'
        record.intake.accept(media, k * 0.04 + 0.025)
    for k in range(50):
        record.sent.append(SentChunk("inbound", k, k * 0.02, 0.0))
    report = measure(record)
    assert report.round_trips_ms == pytest.approx([25.0, 5.0] * 25)
    assert report.bit_exact


def test_what_never_came_back_is_lost() -> None:
    """Ten missing chunks at the end are ten lost, and the call is not exact."""
    plan = CallPlan()
    report = measure(echoed(plan, returned=list(voices(plan)["inbound"][:40])))
    assert (report.lost, len(report.round_trips_ms)) == (10, 40)
    assert (report.bit_exact, report.snr_db) == (False, None)


def test_a_quieter_echo_has_the_ratio_of_its_error() -> None:
    """Half the level leaves half the signal as noise: 6 dB."""
    likeness = compare(SPEECH, (SPEECH // 2).astype(np.int16), 8000)
    assert likeness.snr_db == pytest.approx(6.0, abs=0.1)
    assert likeness.lag_ms == 0


@pytest.mark.parametrize("lag", [1, 24, 700])
def test_a_late_echo_is_lined_up(lag: int) -> None:
    """A delay is found to the sample and does not count as noise."""
    late = np.concatenate([np.zeros(lag, np.int16), SPEECH])
    late[::100] += 1
    likeness = compare(SPEECH, late, 8000)
    assert likeness.lag_ms == 1000 * lag / 8000
    assert likeness.snr_db is not None
    assert likeness.snr_db > 50


def test_an_echo_without_its_beginning_is_lined_up() -> None:
    """Where the first chunk is missing the lag is negative, and the rest is compared."""
    rest = SPEECH[160:] + np.int16(1)
    likeness = compare(SPEECH, rest, 8000)
    assert likeness.lag_ms == -20
    assert likeness.snr_db is not None
    assert likeness.snr_db > 50


def test_silence_has_no_ratio() -> None:
    """Where nothing was said nothing can be compared."""
    silence = np.zeros(800, np.int16)
    assert compare(silence, silence + np.int16(1), 8000).snr_db is None


def test_two_codecs_are_compared_at_the_rate_of_the_second() -> None:
    """L16 at 16 kHz sent, PCMU back: the ratio is that of µ-law, exactness is not asked."""
    plan = CallPlan(codec="L16", rate_hz=16000, send_codec="PCMU", seconds=4)
    back = at_rate(speech(), 8000)[: 200 * 160].reshape(-1, 160)
    encoder = codec("PCMU").encoder()
    report = measure(echoed(plan, 200, returned=[encoder.encode(chunk) for chunk in back]))
    assert report.bit_exact is None
    assert report.snr_db is not None
    assert report.snr_db > 30
    assert report.lost == 0


def test_figures_alone_say_nothing_of_quality() -> None:
    """A plan that keeps no audio has its times and losses, and no ratio."""
    report = measure(echoed(CallPlan(keep="figures")))
    assert (report.lost, report.returned_s) == (0, 1.0)
    assert (report.snr_db, report.bit_exact, report.lag_ms) == (None, None, None)


def test_a_call_without_audio_has_no_figures() -> None:
    """Nothing sent or nothing back leaves the figures of an echo unknown."""
    plan = CallPlan()
    for record in (echoed(plan, 0), echoed(plan, returned=[])):
        report = measure(record)
        assert (report.snr_db, report.lag_ms, report.bit_exact) == (None, None, False)
        assert report.round_trip_ms is None


def test_payloads_that_do_not_decode_have_no_ratio() -> None:
    """A plan may send rubbish; its call is measured all the same."""
    plan = CallPlan(codec="L16", rate_hz=8000, payloads=[b"odd"])
    report = measure(echoed(plan, 5, returned=[b"\x00" * 320] * 5))
    assert (report.snr_db, report.lost) == (None, 0)


def test_the_report_counts_what_was_recorded() -> None:
    """Marks, clears, digits, complaints and the close are taken over."""
    record = echoed(CallPlan())
    record.intake.accept('{"event":"clear"}', 2.0)
    record.intake.accept(b"", 2.0)
    record.marks = [ReturnedMark(1, "a", False), ReturnedMark(2, "b", True)]
    record.complaints = [Complaint(100003, "")]
    record.dtmf, record.reconnects, record.setup_s = "12", 1, 0.5
    record.close_code, record.close_reason = 1001, "drain"
    report = measure(record)
    assert (report.marks, report.cleared_marks, report.clears) == (1, 1, 1)
    assert (report.dtmf, report.errors, report.reconnects) == ("12", (100003,), 1)
    assert report.silent == {"binary message": 1}
    assert (report.setup_ms, report.close_code, report.close_reason) == (500, 1001, "drain")
    assert report.heard is record.intake.ear
