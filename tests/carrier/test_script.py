"""What a plan makes a call send, and when."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.carrier.plan import (
    Audio,
    CallPlan,
    Faults,
    PlanError,
    at_rate,
    can_encode,
    speech,
)
from mediaserver.carrier.script import Cue, as_text, cues, media_s, voices
from telephony_codecs import AudioFormatError, UnknownCodecError, codec


def list_cues(plan: CallPlan, seconds: float) -> list[Cue]:
    return list(cues(plan, seconds))


RAMP = Audio(np.arange(-800, 800, dtype=np.int16), 8000)


def test_the_shipped_clip_is_speech_at_16_khz() -> None:
    """The clip is 432 whole chunks of 20 ms, and not silence."""
    clip = speech()
    assert (clip.rate_hz, len(clip.samples)) == (16000, 432 * 320)
    assert 1000 < np.sqrt(np.mean(clip.samples.astype(float) ** 2)) < 10_000


def test_payloads_are_the_encoded_clip() -> None:
    """One lap of payloads decodes to the clip, the last chunk filled up with silence."""
    plan = CallPlan(codec="L16", rate_hz=8000, audio=RAMP, chunk_ms=30)
    (lap,) = voices(plan).values()
    assert [len(payload) for payload in lap] == [480] * 7
    decoded = np.concatenate([np.frombuffer(payload, "<i2") for payload in lap])
    assert decoded.tolist() == RAMP.samples.tolist() + [0] * 80
    assert [b64decode(text) for text in as_text(voices(plan))["inbound"]] == list(lap)


def test_a_short_call_encodes_only_what_it_sends() -> None:
    """Seconds cut the clip, and a long call repeats it."""
    assert len(voices(CallPlan(seconds=0.1))["inbound"]) == 5
    plan = CallPlan(audio=RAMP, seconds=1)
    assert len(voices(plan)["inbound"]) == 10
    assert len(list_cues(plan, media_s(plan, voices(plan)))) == 50
    plan = CallPlan(audio=RAMP)
    assert media_s(plan, voices(plan)) == 0.2


def test_the_tracks_say_different_things() -> None:
    """With both tracks the outbound one is the same clip from its middle, or its own."""
    both = voices(CallPlan(codec="L16", rate_hz=8000, audio=RAMP, tracks="both"))
    assert both["outbound"] == both["inbound"][5:] + both["inbound"][:5]
    other = Audio(RAMP.samples[::-1].copy(), 8000)
    own = voices(CallPlan(audio=RAMP, outbound_audio=other, tracks="both"))
    assert own["outbound"] == voices(CallPlan(audio=other))["inbound"]
    alone = voices(CallPlan(audio=RAMP, tracks="outbound"))
    assert alone == {"outbound": voices(CallPlan(audio=RAMP))["inbound"]}


def test_encoded_chunks_are_sent_as_they_are() -> None:
    """A plan of payloads needs no encoder."""
    plan = CallPlan(codec="AMR-WB", payloads=[b"a", b"b"], tracks="both")
    assert voices(plan) == {"inbound": (b"a", b"b"), "outbound": (b"a", b"b")}


@pytest.mark.parametrize("payloads", [[], None])
def test_no_audio_is_a_clear_error(payloads: Any) -> None:
    """A call with nothing to say cannot be planned."""
    nothing = Audio(np.zeros(0, np.int16), 8000)
    with pytest.raises(PlanError, match="no audio"):
        voices(CallPlan(payloads=payloads, audio=nothing))


def test_a_clip_changes_its_rate() -> None:
    """Any rate can be had of a clip, and its own costs nothing."""
    assert at_rate(RAMP, 8000) is RAMP.samples
    assert len(at_rate(RAMP, 24000)) == 4800


def test_cues_keep_an_absolute_schedule() -> None:
    """Chunk k is due at k times its length, numbered from the first chunk on."""
    found = list_cues(CallPlan(chunk_ms=30, first_chunk=2), 0.3)
    assert [cue.at_s for cue in found] == [pytest.approx(0.03 * k) for k in range(10)]
    assert [cue.chunk for cue in found] == list(range(2, 12))
    assert [cue.order for cue in found] == [cue.position for cue in found] == list(range(10))


@pytest.mark.parametrize(
    ("numbering", "inbound", "outbound"),
    [("per_track", [1, 2, 3], [1, 2, 3]), ("shared", [1, 3, 5], [2, 4, 6])],
)
def test_chunks_count_per_track_or_shared(
    numbering: Any, inbound: list[int], outbound: list[int]
) -> None:
    """Whether the tracks share a counter is unknown (protocol.md 1.1), so both can be had."""
    found = list_cues(CallPlan(tracks="both", chunk_numbering=numbering), 0.06)
    numbers = {
        track: [cue.chunk for cue in found if cue.track == track]
        for track in ("inbound", "outbound")
    }
    assert numbers == {"inbound": inbound, "outbound": outbound}


def test_a_held_track_uses_no_numbers() -> None:
    """During a hold nothing of the track is sent, and its chunks count on afterwards."""
    found = list_cues(CallPlan(tracks="both", holds=[("outbound", 0.04, 0.08)]), 0.12)
    held = [(round(cue.at_s * 1000), cue.chunk) for cue in found if cue.track == "outbound"]
    assert held == [(0, 1), (20, 2), (80, 3), (100, 4)]
    assert sum(cue.track == "inbound" for cue in found) == 6


@pytest.mark.parametrize(
    ("numbering", "chunks"), [("restart", [1, 2, 1, 2]), ("continue", [1, 2, 3, 4])]
)
def test_a_reconnect_may_restart_the_numbers(numbering: Any, chunks: list[int]) -> None:
    """After a reconnect chunks start again or go on (unknown: protocol.md 1.4)."""
    found = list_cues(CallPlan(reconnect_at_s=0.03, reconnect_numbering=numbering), 0.08)
    assert [cue.kind for cue in found] == ["media", "media", "reconnect", "media", "media"]
    media = [cue for cue in found if cue.kind == "media"]
    assert [cue.chunk for cue in media] == chunks
    assert [cue.position for cue in media] == [0, 1, 2, 3]


def test_digits_fall_between_the_chunks() -> None:
    """Key presses come at their time."""
    found = list_cues(CallPlan(dtmf=[(0.03, "5"), (0.01, "#")]), 0.06)
    assert [cue.digit or cue.chunk for cue in found] == [1, "#", 2, "5", 3]


@given(
    st.integers(0, 8),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 0.2),
    st.one_of(st.none(), st.tuples(st.floats(0, 1), st.floats(0, 0.5))),
    st.integers(0, 5),
)
def test_faults_lose_nothing_but_what_they_drop(
    window: int,
    drop: float,
    duplicate: float,
    jitter_s: float,
    stall: tuple[float, float] | None,
    seed: int,
) -> None:
    """Each chunk is sent or dropped once, at most doubled, never early, within its bounds."""
    faults = Faults(window, duplicate, drop, jitter_s, stall)
    plan = CallPlan(faults=faults, seed=seed)
    found = list_cues(plan, 1.0)
    assert found == list_cues(plan, 1.0)
    assert [cue.at_s for cue in found] == sorted(cue.at_s for cue in found)
    copies = Counter(cue.position for cue in found)
    assert set(copies) == set(range(50))
    assert max(copies.values()) <= 2
    latest_s = max(0, window - 1) * 0.02 + jitter_s + (stall[1] if stall else 0)
    for cue in found:
        assert -1e-9 <= cue.at_s - cue.position * 0.02 <= latest_s + 1e-9
        assert not (stall and stall[0] <= cue.at_s < sum(stall))


def test_chunks_are_shuffled_within_the_window_only() -> None:
    """No chunk overtakes one that is a window's length ahead of it, and some do overtake."""
    found = list_cues(CallPlan(faults=Faults(reorder_window=4)), 4.0)
    order = [cue.position for cue in found]
    assert order != sorted(order)
    assert all(max(order[:k], default=0) - order[k] < 4 for k in range(len(order)))


def test_drop_and_duplicate_are_probabilities() -> None:
    """About as many chunks are dropped and doubled as asked for."""
    found = list_cues(CallPlan(faults=Faults(drop=0.2, duplicate=0.1)), 40.0)
    assert 300 < sum(cue.dropped for cue in found) < 500
    assert 130 < len(found) - 2000 < 270


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Faults(drop=1.1),
        lambda: Faults(duplicate=-0.1),
        lambda: Faults(reorder_window=-1),
        lambda: Faults(jitter_s=-1),
        lambda: CallPlan(tracks="all"),  # type: ignore[arg-type] # wrong on purpose
        lambda: CallPlan(chunk_ms=0),
        lambda: CallPlan(seconds=-1),
    ],
)
def test_impossible_plans_are_refused(wrong: Any) -> None:
    """A plan that no call can follow is refused when it is made."""
    with pytest.raises(PlanError):
        wrong()


def test_codecs_and_rates_are_checked() -> None:
    """An unknown codec or a rate it does not have is the codec library's clear error."""
    with pytest.raises(UnknownCodecError):
        voices(CallPlan(codec="GSM"))
    with pytest.raises(AudioFormatError):
        voices(CallPlan(codec="OPUS", rate_hz=44100))


@pytest.mark.parametrize(
    ("plan", "out"),
    [
        (CallPlan(), ("PCMU", 8000)),
        (CallPlan(codec="L16", rate_hz=24000), ("L16", 24000)),
        (CallPlan(codec="L16", rate_hz=24000, send_codec="PCMA"), ("PCMA", 8000)),
        (CallPlan(codec="PCMU", send_codec="L16", send_rate_hz=16000), ("L16", 16000)),
        (CallPlan(codec="G722", rate_hz=8000), ("G722", 16000)),
    ],
)
def test_what_comes_back_defaults_to_what_was_sent(plan: CallPlan, out: tuple[str, int]) -> None:
    """Codec and rate of the way back are those of the way there unless said, and are told."""
    assert (plan.out_codec, plan.out_rate_hz) == out
    assert plan.start_parameters == {
        "send_mode": "rtp",
        "send_codec": out[0],
        "send_rate": str(out[1]),
    }


def test_the_users_parameters_win() -> None:
    """Custom parameters of the plan override what the fake adds by itself."""
    plan = CallPlan(mode="mp3", custom_parameters={"a": "b"})
    assert plan.start_parameters == {"send_mode": "mp3", "a": "b"}
    plan = CallPlan(custom_parameters={"send_codec": "OPUS"})
    assert plan.start_parameters["send_codec"] == "OPUS"
    plan = CallPlan(tell_formats=False, custom_parameters={"a": "b"})
    assert plan.start_parameters == {"a": "b"}


def test_a_plan_shown_hides_its_token() -> None:
    """No token gets into a log by way of a plan."""
    assert "secret" not in repr(CallPlan(token="secret"))


def test_amr_wb_comes_back_as_something_that_can_be_made() -> None:
    """Where no AMR-WB encoder is at hand the way back is G722."""
    wanted = "AMR-WB" if can_encode("AMR-WB") else "G722"
    assert CallPlan(codec="AMR-WB").out_codec == wanted
    assert can_encode("G722")
    assert not codec("MP3").make_decoder


def test_another_call_has_ids_of_its_own() -> None:
    """A plan repeated differs in its ids and its seed alone."""
    plan = CallPlan(seconds=3)
    again = plan.again(7)
    assert (again.seconds, again.seed) == (3, 7)
    assert again.stream_id != plan.stream_id
    assert again.call_control_id != plan.call_control_id
