"""What the far end makes of each message: it plays, complains or keeps silent."""

from __future__ import annotations

import json
from base64 import b64encode

import numpy as np
import pytest

from mediaserver.carrier.intake import Answer, Complaint, Intake
from mediaserver.carrier.plan import CallPlan, speech
from telephony_codecs import codec


def media(payload: bytes) -> str:
    return json.dumps({"event": "media", "media": {"payload": b64encode(payload).decode()}})


def complaint(answer: Answer) -> int:
    assert answer.complaint is not None
    return answer.complaint.code


def test_raw_audio_is_played() -> None:
    """A payload of 20 ms is decoded, counted and heard."""
    intake = Intake(CallPlan(codec="PCMU"))
    assert intake.accept(media(b"\x00" * 160), 1.0) == ([], None)
    assert intake.ear.between(1.0, 1.02).tolist() == [-32124] * 160
    assert list(intake.arrivals.at_s) == [1.0]
    assert intake.arrivals.audio().tolist() == [-32124] * 160
    assert len(intake.received) == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("not json", 100003),
        ('{"event":"dance"}', 100003),
        ('{"event":"media","media":{"payload":"%%%"}}', 100004),
        ('{"event":"media","media":{"payload":"AAA"}}', 100004),
        (media(b""), 100004),
        (media(b"\xff" * 159), 100004),
        (media(b"\xff" * 8000 * 31), 100002),
    ],
)
def test_bad_messages_are_complained_about(message: str, code: int) -> None:
    """Each kind of bad message has its code, and nothing of it is heard."""
    intake = Intake(CallPlan(codec="PCMU"))
    assert complaint(intake.accept(message, 1.0)) == code
    assert intake.ear.runs == []


def test_thirty_seconds_are_the_most() -> None:
    """A message of 30 s is played."""
    intake = Intake(CallPlan(codec="PCMU"))
    assert intake.accept(media(b"\xff" * 8000 * 30), 1.0).complaint is None
    assert intake.ear.end_s == 31.0


def test_what_a_codec_refuses_is_an_unknown_error() -> None:
    """A payload of half a sample gives 100002, and the next is played all the same."""
    intake = Intake(CallPlan(codec="L16", rate_hz=16000))
    assert complaint(intake.accept(media(b"\x00" * 641), 1.0)) == 100002
    assert intake.accept(media(b"\x00" * 640), 1.0).complaint is None


def test_binary_messages_give_silence_without_an_error() -> None:
    """As live calls do (protocol.md 1.2), the far end ignores binary messages."""
    intake = Intake(CallPlan())
    assert intake.accept(media(b"\xff" * 160).encode(), 1.0) == ([], None)
    assert intake.silent == {"binary message": 1}
    assert intake.ear.runs == []


def test_a_clear_gives_its_marks_back() -> None:
    """Marks that a clear sets free are in its answer, those without audio are due at once."""
    intake = Intake(CallPlan())
    intake.accept(media(b"\xff" * 160), 1.0)
    assert intake.accept('{"event":"mark","mark":{"name":"a"}}', 1.0) == ([], None)
    assert intake.ear.next_due() == 1.02
    assert intake.accept('{"event":"clear"}', 1.01) == (["a"], None)


def mp3_file(seconds: float = 0.5) -> bytes:
    samples = speech().samples[16000 : 16000 + round(16000 * seconds)]
    return codec("MP3").encoder(16000).encode(samples)


def test_mp3_files_queue_and_play_in_order() -> None:
    """In mp3 mode a payload is a whole file, heard at the rate of the ear."""
    intake = Intake(CallPlan(mode="mp3"))
    assert intake.accept(media(mp3_file()), 1.0).complaint is None
    assert intake.accept(media(mp3_file(1.5)), 2.0).complaint is None
    assert len(intake.arrivals.at_s) == 2
    assert 2.0 < intake.arrivals.audio().size / 8000 < 2.4
    assert np.abs(intake.arrivals.audio()).max() > 1000


def test_one_mp3_message_a_second() -> None:
    """A second file within the second is refused with 100005, the next one is played."""
    intake = Intake(CallPlan(mode="mp3"))
    file = mp3_file()
    answers = [intake.accept(media(file), at_s) for at_s in (1.0, 1.5, 2.0)]
    assert [answer.complaint and answer.complaint.code for answer in answers] == [
        None,
        100005,
        None,
    ]


@pytest.mark.parametrize("payload", [b"\xff" * 160, b"\x00" * 320, b"ID3 and no more", b"\xff"])
def test_raw_audio_in_mp3_mode_is_silence_without_an_error(payload: bytes) -> None:
    """The commonest "caller hears nothing" bug (protocol.md 1.2) shows as it does live."""
    intake = Intake(CallPlan(mode="mp3"))
    assert intake.accept(media(payload), 1.0) == ([], None)
    assert intake.silent == {"not an mp3 file": 1}
    assert intake.ear.runs == []


def test_raw_audio_in_mp3_mode_is_no_file_too_many() -> None:
    """Raw audio every 20 ms is silence, not 100005; a file among it is still played."""
    intake = Intake(CallPlan(mode="mp3"))
    raw = [intake.accept(media(b"\xff" * 160), 1.0 + n / 50) for n in range(50)]
    assert raw == [([], None)] * 50
    assert intake.accept(media(mp3_file()), 2.0) == ([], None)
    assert intake.silent == {"not an mp3 file": 50}
    assert len(intake.ear.runs) == 1


def test_a_load_run_keeps_what_it_needs() -> None:
    """Without messages the audio stays, with figures only its length; marks stay in any case."""
    mark = '{"event":"mark","mark":{"name":"a"}}'
    for keep, level, n_received in (("all", -32124, 2), ("audio", -32124, 1), ("figures", 0, 1)):
        intake = Intake(CallPlan(keep=keep))  # type: ignore[arg-type] # the three literals
        intake.accept(media(b"\x00" * 160), 1.0)
        intake.accept(mark, 1.0)
        assert intake.arrivals.audio().tolist() == [level] * 160
        assert intake.ear.end_s == 1.02
        assert len(intake.received) == n_received


def test_a_complaint_says_what_is_wrong() -> None:
    """The detail names the length that was refused and the lengths that are not."""
    intake = Intake(CallPlan())
    answer = intake.accept(media(b"\xff" * 80), 1.0)
    assert answer.complaint == Complaint(100004, "10 ms of audio, a message holds 20 ms to 30 s")
