"""Per-call tokens: made by the control client, admitted by the server, no shared state.

Both sides know only the shared secret (the setting ``auth_token``). A token is a nonce and
its time of issue under an HMAC, so a server in another process can check it; which call it
belongs to is settled when a call first presents it. Time is an argument, in unix seconds,
because issuer and gate may run on different machines. What a gate remembers of claims stays
in its process: with workers their parent has the one gate, and a new generation of the server
adopts what its predecessor's knew. Two servers behind one address would each bind the same token
to the first call they see.

A *placed* token says more: which call it is for, the node where the call was placed, and the
placement's epoch. Any server with the secret can judge it alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

_PREFIX, _PLACED_PREFIX = "t1", "p1"
_NONCE_BYTES = 16
_TIME_BYTES = 8
_BODY_CHARS = 32
"""16 octets of nonce and 8 of time in base64url, without padding by construction."""
_MAC_CHARS = 43


class Admission(Enum):
    """What a gate made of a token; the value is a reason fit for a log line."""

    OPEN = "no token is asked for"
    SHARED = "the shared secret itself"
    PER_CALL = "a per-call token"
    MISSING = "no token"
    UNKNOWN = "unknown token"
    EXPIRED = "token expired before it was used"
    OTHER_CALL = "token belongs to another call"
    REVOKED = "token of a call that has ended"

    @property
    def admitted(self) -> bool:
        """Whether the call may come in."""
        return self in (Admission.OPEN, Admission.SHARED, Admission.PER_CALL)


def issue(secret: str, now: float) -> str:
    """Make a token that one call may use, good in a header, a path and a query.

    Args:
        secret: the shared secret, not empty.
        now: unix seconds.

    Raises:
        ValueError: an empty secret.
    """
    if not secret:
        raise ValueError("the shared secret is empty")
    nonce = os.urandom(_NONCE_BYTES)
    body = _b64(nonce + int(now * 1000).to_bytes(_TIME_BYTES, "big"))
    return f"{_PREFIX}.{body}.{_mac(_derived_key(secret), body)}"


class Placed(NamedTuple):
    """What a placed token says.

    Attributes:
        call: the ``call_control_id`` it is for; empty: it was not known yet.
        node: where the call was placed.
        epoch: which placement of the call this is; a higher one is a later one.
        issued_at: unix seconds.
        expires_at: unix seconds; a call that came before may come back later.
    """

    call: str
    node: str
    epoch: int
    issued_at: float
    expires_at: float


def issue_placed(secret: str, placed: Placed) -> str:
    """Make the token of a call that was placed, good wherever ``issue``'s are.

    Raises:
        ValueError: an empty secret.
    """
    if not secret:
        raise ValueError("the shared secret is empty")
    body = _b64(json.dumps(placed, separators=(",", ":")).encode())
    return f"{_PLACED_PREFIX}.{body}.{_mac(_derived_key(secret), f'{_PLACED_PREFIX}.{body}')}"


def _read_placed(key: bytes, token: str) -> Placed | None:
    """What a genuine placed token says; None for any other string."""
    prefix, _, rest = token.partition(".")
    body, _, mac = rest.partition(".")
    if prefix != _PLACED_PREFIX or len(mac) != _MAC_CHARS:
        return None
    if not hmac.compare_digest(_octets(_mac(key, f"{prefix}.{body}")), _octets(mac)):
        return None
    # The MAC vouches for the body.
    return Placed(*json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


@dataclass(slots=True)
class Claim:
    """A token in use: whose it is, and when it was or will be over."""

    issued_at: float
    call_control_id: str
    revoked_at: float | None = None
    epoch: int = 0


@dataclass
class TokenGate:
    """Decides which calls may come in.

    Args:
        secret: the shared secret; None lets everyone in.
        grace_s: how long a token outlives its call, for a socket that reconnects.
        unclaimed_s: how long a token that no call has presented stays good.
        skew_s: how far ahead the issuer's clock may be.
        max_claims: tokens remembered at most; a forgotten one is refused, never re-admitted.
    """

    secret: str | None = field(repr=False)
    grace_s: float = 10.0
    unclaimed_s: float = 3600.0
    skew_s: float = 300.0
    max_claims: int = 100_000
    _key: bytes = field(init=False, repr=False, default=b"")
    _claims: dict[str, Claim] = field(init=False, repr=False, default_factory=dict)
    _of_call: dict[str, set[str]] = field(init=False, repr=False, default_factory=dict)
    _ended: deque[str] = field(init=False, repr=False, default_factory=deque)
    _floor: float = field(init=False, repr=False, default=float("-inf"))

    def __post_init__(self) -> None:
        if self.secret is not None:
            self._key = _derived_key(self.secret)

    def admit(
        self, token: str | None, call_control_id: str, now: float, wall: float | None = None
    ) -> Admission:
        """Judge the token of a call; the first call to present a per-call token owns it.

        A call that comes back within its grace lives on: its token is good until it ends again.

        Args:
            token: as it came from header, path or message.
            call_control_id: of the call that presents it.
            now: unix seconds, on a clock that nobody sets.
            wall: unix seconds, on the wall clock, if somebody has set it meanwhile.
        """
        verdict = self._judge(token, now, wall)
        if verdict is not Admission.PER_CALL or token is None:
            return verdict
        claim = self._claims.get(token)
        if claim is not None and claim.call_control_id != call_control_id:
            return Admission.OTHER_CALL
        if claim is None:
            placed = _read_placed(self._key, token)
            if placed is not None and placed.call not in ("", call_control_id):
                return Admission.OTHER_CALL
            self._forget_spent(now)
            claim = self._claims[token] = Claim(
                self._issued_at(token) or now,
                call_control_id,
                epoch=0 if placed is None else placed.epoch,
            )
        claim.revoked_at = None
        self._of_call.setdefault(call_control_id, set()).add(token)
        return verdict

    def looks_valid(self, token: str | None, now: float, wall: float | None = None) -> bool:
        """Whether some call could be admitted with this token: for the handshake."""
        return self._judge(token, now, wall).admitted

    def owner(self, token: str | None) -> str | None:
        """The call that a per-call token belongs to; None before one has presented it."""
        claim = self._claims.get(token or "")
        return None if claim is None else claim.call_control_id

    def epoch_of(self, call_control_id: str) -> int:
        """The highest epoch that a placed token of this live call has named; 0: none did."""
        tokens = self._of_call.get(call_control_id, ())
        return max((self._claims[token].epoch for token in tokens), default=0)

    def is_per_call(self, token: str | None) -> bool:
        """Whether it is a genuine token made for one call."""
        return self.secret is not None and bool(token) and self._issued_at(token or "") is not None

    def call_ended(self, call_control_id: str, now: float) -> None:
        """Start the grace of every token the call holds; after it they are refused."""
        for token in self._of_call.pop(call_control_id, ()):
            self._claims[token].revoked_at = now + self.grace_s
            self._ended.append(token)
        self._forget_spent(now)

    @property
    def claims(self) -> dict[str, Claim]:
        """The tokens that calls have presented, for the gate of another process to ``adopt``."""
        return dict(self._claims)

    def adopt(self, claims: Mapping[str, Claim]) -> None:
        """Know what another gate knew, but for tokens made under another secret."""
        for token, claim in claims.items():
            if token in self._claims or not self.is_per_call(token):
                continue
            self._claims[token] = claim
            if claim.revoked_at is None:
                self._of_call.setdefault(claim.call_control_id, set()).add(token)
            else:
                self._ended.append(token)

    def _judge(self, token: str | None, now: float, wall: float | None) -> Admission:
        if self.secret is None:
            return Admission.OPEN
        if not token:
            return Admission.MISSING
        if hmac.compare_digest(_octets(token), _octets(self.secret)):
            return Admission.SHARED
        issued_at = self._issued_at(token)
        if issued_at is None:
            return Admission.UNKNOWN
        claim = self._claims.get(token)
        if claim is not None:
            over = claim.revoked_at is not None and now >= claim.revoked_at
            return Admission.REVOKED if over else Admission.PER_CALL
        # Its issuer may have made it before the clock was set, or after.
        placed = _read_placed(self._key, token)
        ends_at = issued_at + self.unclaimed_s
        if placed is not None:
            ends_at = min(ends_at, placed.expires_at)
        fresh = any(
            clock < ends_at and issued_at <= clock + self.skew_s
            for clock in (now, now if wall is None else wall)
        )
        return Admission.PER_CALL if fresh and issued_at > self._floor else Admission.EXPIRED

    def _issued_at(self, token: str) -> float | None:
        """Unix seconds at which a genuine token was made; None for any other string."""
        placed = _read_placed(self._key, token)
        if placed is not None:
            return placed.issued_at
        prefix, _, rest = token.partition(".")
        body, _, mac = rest.partition(".")
        if prefix != _PREFIX or len(body) != _BODY_CHARS or len(mac) != _MAC_CHARS:
            return None
        if not hmac.compare_digest(_octets(_mac(self._key, body)), _octets(mac)):
            return None
        raw = base64.urlsafe_b64decode(body)  # cannot fail: the MAC vouches for the body
        return int.from_bytes(raw[_NONCE_BYTES:], "big") / 1000

    def _forget_spent(self, now: float) -> None:
        """Drop tokens of ended calls that decide nothing any more, or that are too many.

        Live calls are never dropped: their number is the server's to bound.
        """
        while self._ended:
            claim = self._claims.get(self._ended[0])
            if claim is not None and claim.revoked_at is not None:
                is_spent = now >= max(claim.revoked_at, claim.issued_at + self.unclaimed_s)
                if not is_spent and len(self._claims) < self.max_claims:
                    return
                # A forgotten token could be claimed anew; the floor refuses all as old as it.
                self._floor = max(self._floor, claim.issued_at)
                del self._claims[self._ended[0]]
            self._ended.popleft()


def _derived_key(secret: str) -> bytes:
    """A key of its own, so that a leaked token says nothing usable about the secret."""
    return hmac.digest(_octets(secret), b"mediaserver per-call token 1", hashlib.sha256)


def _mac(key: bytes, body: str) -> str:
    return _b64(hmac.digest(key, _octets(body), hashlib.sha256))


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _octets(text: str) -> bytes:
    """Octets to compare: a token from the wire may hold anything, lone surrogates too."""
    return text.encode("utf-8", "surrogatepass")
