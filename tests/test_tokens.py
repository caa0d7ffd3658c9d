from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.tokens import Admission, Placed, TokenGate, issue, issue_placed

SECRET = "the shared secret of a test"
NOW = 1_790_000_000.0


def test_a_token_is_url_safe_and_short() -> None:
    """A token needs no quoting in a path or a query and stays far below 200 characters."""
    token = issue(SECRET, NOW)
    assert set(token) <= set(string.ascii_letters + string.digits + "-_.")
    assert len(token) < 100


def test_no_two_tokens_are_equal() -> None:
    """Tokens made in the same instant differ."""
    assert len({issue(SECRET, NOW) for _ in range(100)}) == 100


def test_the_secret_is_not_in_the_token_nor_in_the_gate_s_repr() -> None:
    """Neither a token nor the repr of a gate shows the shared secret."""
    assert SECRET not in issue(SECRET, NOW)
    assert SECRET not in repr(TokenGate(SECRET))


def test_an_empty_secret_makes_no_token() -> None:
    """Issuing with an empty secret is refused."""
    with pytest.raises(ValueError, match="empty"):
        issue("", NOW)


def test_a_gate_in_another_process_admits_the_token() -> None:
    """A gate that shares only the secret with the issuer admits a fresh token."""
    gate = TokenGate(SECRET)
    token = issue(SECRET, NOW)
    assert gate.looks_valid(token, NOW)
    verdict = gate.admit(token, "v3:one", NOW)
    assert verdict is Admission.PER_CALL
    assert verdict.admitted


def test_the_first_call_owns_the_token() -> None:
    """Once a call has presented a token, every other call is refused with it."""
    gate = TokenGate(SECRET)
    token = issue(SECRET, NOW)
    gate.admit(token, "v3:one", NOW)
    assert gate.admit(token, "v3:two", NOW) is Admission.OTHER_CALL
    assert gate.admit(token, "v3:one", NOW + 5) is Admission.PER_CALL


def test_the_shared_secret_admits_any_call() -> None:
    """The shared secret itself is told apart from a per-call token and bound to nothing."""
    gate = TokenGate(SECRET)
    assert gate.admit(SECRET, "v3:one", NOW) is Admission.SHARED
    assert gate.admit(SECRET, "v3:two", NOW) is Admission.SHARED


@pytest.mark.parametrize("token", [None, "", "anything"])
def test_without_a_secret_everyone_may_in(token: str | None) -> None:
    """A gate without a secret asks for no token."""
    gate = TokenGate(None)
    assert gate.admit(token, "v3:one", NOW) is Admission.OPEN
    assert gate.looks_valid(token, NOW)


@pytest.mark.parametrize("token", [None, ""])
def test_a_missing_token_is_refused(token: str | None) -> None:
    """With a secret set, no token means no call."""
    verdict = TokenGate(SECRET).admit(token, "v3:one", NOW)
    assert verdict is Admission.MISSING
    assert not verdict.admitted


@given(st.text(max_size=120))
def test_no_other_string_is_admitted(token: str) -> None:
    """Arbitrary text, lone surrogates and all, is never admitted and never raises."""
    assert not TokenGate(SECRET).looks_valid(token, NOW)


def test_a_lone_surrogate_is_refused() -> None:
    """Text that no encoding can carry is a token like any other wrong one."""
    assert TokenGate(SECRET).admit("\ud800", "v3:one", NOW) is Admission.UNKNOWN


@given(st.integers(min_value=0, max_value=77), st.sampled_from(string.ascii_letters + "-_.0"))
def test_a_changed_character_makes_a_token_unknown(at: int, other: str) -> None:
    """A token with any one character changed is refused."""
    token = issue(SECRET, NOW)
    changed = token[:at] + other + token[at + 1 :]
    verdict = TokenGate(SECRET).admit(changed, "v3:one", NOW)
    assert verdict is (Admission.PER_CALL if changed == token else Admission.UNKNOWN)


def test_another_secret_s_token_is_unknown() -> None:
    """A token made from another secret is refused."""
    assert not TokenGate(SECRET).looks_valid(issue("other", NOW), NOW)


def test_an_unclaimed_token_expires_after_an_hour() -> None:
    """A token nobody presented for an hour is refused."""
    gate = TokenGate(SECRET)
    token = issue(SECRET, NOW)
    assert gate.looks_valid(token, NOW + 3599)
    assert gate.admit(token, "v3:one", NOW + 3600) is Admission.EXPIRED


def test_a_token_from_the_far_future_is_refused() -> None:
    """An issuer's clock may be five minutes ahead, not more."""
    gate = TokenGate(SECRET)
    assert gate.looks_valid(issue(SECRET, NOW + 299), NOW)
    assert not gate.looks_valid(issue(SECRET, NOW + 301), NOW)


def test_a_claimed_token_lives_as_long_as_its_call() -> None:
    """A call of many hours may reconnect with the token it began with."""
    gate = TokenGate(SECRET)
    token = issue(SECRET, NOW)
    gate.admit(token, "v3:one", NOW)
    assert gate.admit(token, "v3:one", NOW + 36_000) is Admission.PER_CALL


def test_a_token_is_revoked_after_the_grace() -> None:
    """After the call ended the token is good for the grace, then for nobody."""
    gate = TokenGate(SECRET, grace_s=10.0)
    token = issue(SECRET, NOW)
    gate.admit(token, "v3:one", NOW)
    gate.call_ended("v3:one", NOW + 60)
    assert gate.looks_valid(token, NOW + 69.9)
    assert gate.admit(token, "v3:one", NOW + 70) is Admission.REVOKED
    assert gate.admit(token, "v3:two", NOW + 70) is Admission.REVOKED


def test_a_call_that_comes_back_in_its_grace_keeps_its_token() -> None:
    """A token presented again during the grace is good until the call ends again."""
    gate = TokenGate(SECRET, grace_s=10.0)
    token = issue(SECRET, NOW)
    gate.admit(token, "v3:one", NOW)
    gate.call_ended("v3:one", NOW)
    gate.admit(token, "v3:one", NOW + 9)
    assert gate.admit(token, "v3:one", NOW + 5000) is Admission.PER_CALL
    gate.call_ended("v3:one", NOW + 5000)
    assert not gate.looks_valid(token, NOW + 5010)


def test_a_call_may_hold_several_tokens() -> None:
    """A stream started again brings a new token; the end of the call revokes both."""
    gate = TokenGate(SECRET)
    tokens = [issue(SECRET, NOW), issue(SECRET, NOW + 1)]
    assert all(gate.admit(t, "v3:one", NOW + 1) is Admission.PER_CALL for t in tokens)
    gate.call_ended("v3:one", NOW + 2)
    assert not any(gate.looks_valid(t, NOW + 20) for t in tokens)


def test_the_end_of_an_unknown_call_changes_nothing() -> None:
    """A call without a token may end too."""
    gate = TokenGate(SECRET)
    gate.call_ended("v3:none", NOW)
    assert gate.looks_valid(issue(SECRET, NOW), NOW)


def test_a_spent_token_is_forgotten_and_stays_refused() -> None:
    """An hour after its issue an ended call's token costs no memory and is still refused."""
    gate = TokenGate(SECRET)
    token = issue(SECRET, NOW)
    gate.admit(token, "v3:one", NOW)
    gate.call_ended("v3:one", NOW + 1)
    gate.call_ended("v3:other", NOW + 3601)
    assert gate._claims == {}
    assert not gate.looks_valid(token, NOW + 3601)


def test_memory_is_bounded_and_a_forgotten_token_is_never_admitted_again() -> None:
    """With too many ended calls the oldest tokens are forgotten, but refused all the same."""
    gate = TokenGate(SECRET, max_claims=10)
    tokens = [issue(SECRET, NOW + n) for n in range(50)]
    for n, token in enumerate(tokens):
        assert gate.admit(token, f"v3:{n}", NOW + n).admitted
        gate.call_ended(f"v3:{n}", NOW + n)
    assert len(gate._claims) <= 10
    assert len(gate._ended) <= 10
    assert not any(gate.looks_valid(token, NOW + 100) for token in tokens)
    assert gate.looks_valid(issue(SECRET, NOW + 100), NOW + 100)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_refuses_no_token(jump_s: float) -> None:
    """Made before or after: good for its call; of an ended call: over when its grace is over."""
    gate, now = TokenGate("s3cret", grace_s=10.0), 1_790_000_000.0
    before, after = issue("s3cret", now - 5.0), issue("s3cret", now + jump_s + 5.0)
    old = issue("s3cret", now - 2 * 3600.0 - 10.0)
    wall = now + jump_s
    assert gate.admit(before, "a", now, wall) is Admission.PER_CALL
    assert gate.admit(after, "b", now, wall) is Admission.PER_CALL
    assert gate.admit(old, "c", now, wall) is Admission.EXPIRED
    gate.call_ended("a", now)
    assert gate.looks_valid(before, now + 9.0, wall + 9.0)
    assert gate.admit(before, "a", now + 10.0, wall + 10.0) is Admission.REVOKED


def placed(call: str, epoch: int, expires_at: float = 1120.0, *, secret: str = "secret") -> str:
    return issue_placed(secret, Placed(call, "node-a", epoch, 1000.0, expires_at))


def test_a_placed_token_lets_its_call_in_anywhere() -> None:
    """Any gate with the secret judges it alone, and learns the epoch."""
    for gate in (TokenGate("secret"), TokenGate("secret")):
        assert gate.epoch_of("v3:x") == 0
        assert gate.looks_valid(placed("v3:x", 3), 1001.0)
        assert gate.admit(placed("v3:x", 3), "v3:x", 1001.0) is Admission.PER_CALL
        assert gate.admit(placed("v3:x", 2), "v3:x", 1001.0) is Admission.PER_CALL
        assert gate.epoch_of("v3:x") == 3
        assert gate.is_per_call(placed("v3:x", 3))


def test_a_placed_token_is_of_one_call() -> None:
    """One for a call without an id yet belongs to the first that presents it."""
    gate = TokenGate("secret")
    assert gate.admit(placed("v3:x", 1), "v3:y", 1001.0) is Admission.OTHER_CALL
    dialled = placed("", 1)
    assert gate.admit(dialled, "v3:y", 1001.0) is Admission.PER_CALL
    assert gate.admit(dialled, "v3:z", 1001.0) is Admission.OTHER_CALL


def test_a_placed_token_expires_unless_its_call_has_come() -> None:
    gate = TokenGate("secret")
    token = placed("v3:x", 1)
    assert gate.admit(token, "v3:x", 1120.0) is Admission.EXPIRED
    assert gate.admit(token, "v3:x", 1119.0) is Admission.PER_CALL
    assert gate.admit(token, "v3:x", 1500.0) is Admission.PER_CALL
    gate.call_ended("v3:x", 1500.0)
    assert gate.admit(token, "v3:x", 1511.0) is Admission.REVOKED


def test_a_changed_placed_token_is_nothing() -> None:
    """Of another secret, another epoch, cut, or with another beginning."""
    gate, token = TokenGate("secret"), placed("v3:x", 1)
    body, mac = token.split(".")[1:]
    other = placed("v3:x", 2).split(".")[1]
    for bad in (
        placed("v3:x", 1, secret="other"),
        f"p1.{other}.{mac}",
        f"t1.{body}.{mac}",
        token[:-1],
        f"p1..{mac}",
        "p1",
    ):
        assert gate.admit(bad, "v3:x", 1001.0) is Admission.UNKNOWN
    with pytest.raises(ValueError, match="empty"):
        issue_placed("", Placed("v3:x", "a", 1, 0.0, 1.0))
