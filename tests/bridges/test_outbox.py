from __future__ import annotations

from mediaserver.bridges.outbox import MAX_MESSAGES, Outbox


def taken(outbox: Outbox) -> list[str | bytes]:
    found = []
    while (data := outbox.take()) is not None:
        found.append(data)
    return found


def test_put_then_take_in_the_order_of_sending() -> None:
    """Audio and messages keep their order."""
    outbox = Outbox(1.0)
    assert outbox.put_audio(b"a", 0.02) == 0
    assert outbox.put("m")
    assert outbox.put_audio(b"b", 0.02) == 0
    assert len(outbox) == 3
    assert taken(outbox) == [b"a", "m", b"b"]
    assert abs(outbox.audio_s) < 1e-9


def test_the_oldest_audio_is_given_up_and_no_message() -> None:
    """A message that is older stays."""
    outbox = Outbox(0.05)
    outbox.put("m")
    for name in (b"a", b"b", b"c", b"d"):
        outbox.put_audio(name, 0.02)
    assert abs(outbox.dropped_s - 0.04) < 1e-9
    assert taken(outbox) == ["m", b"c", b"d"]


def test_a_piece_that_is_longer_than_all_goes_itself() -> None:
    """Nothing is kept beyond the limit, whatever its size."""
    outbox = Outbox(0.05)
    assert outbox.put_audio(b"long", 1.0) == 1
    assert taken(outbox) == []


def test_messages_are_bounded() -> None:
    """The one too many is not taken; there is room again when one has gone."""
    outbox = Outbox(1.0)
    assert all(outbox.put(str(n)) for n in range(MAX_MESSAGES))
    assert not outbox.put("one more")
    assert outbox.take() == "0"
    assert outbox.put("one more")


def test_messages_of_a_connection_that_is_gone_are_forgotten() -> None:
    """The audio stays: it is the pre-roll of the next one."""
    outbox = Outbox(1.0)
    outbox.put("m")
    outbox.put_audio(b"a", 0.02)
    outbox.forget_messages()
    assert taken(outbox) == [b"a"]
