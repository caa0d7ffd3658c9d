"""How the calls of a fake carrier behave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.rest.streams import PlanFor, default_plan

FORK_S = 600.0
"""How long a fork goes on, if nobody stops it."""


@dataclass(frozen=True)
class Habits:
    """How calls of this carrier behave.

    Attributes:
        plan_for: what a stream says and how.
        answer_after_s: how long a dialled number rings.
        answer: ``never``: a dialled number rings until its ``timeout_secs``.
        ring_s: and then so long instead, so that a test need not wait.
        up_after_s: how long it takes from the command ``answer`` until the call is answered.
        first_command_s: how long a call that comes in waits for its first command.
        transcripts: what a transcription hears, again and again.
        transcript_every_s: how often it hears something.
        s_per_character: how long a character of a spoken text takes.
        file_s: length of every file that is played.
        fork_plan: what is forked, and what goes wrong with it; both tracks are.
        second_stream: what becomes of a call whose stream is to start a second time, of which
            nobody knows what Telnyx does: the command is refused while the call streams
            (``refuse``); the new stream takes the place of the old one (``replace``); or as
            ``refuse``, and a stream whose socket is lost connects again by itself
            (``reconnect``).
        reconnect_for_s: for so long it tries; then the stream has failed.
    """

    plan_for: PlanFor = default_plan
    answer_after_s: float = 0.05
    answer: Literal["yes", "never"] = "yes"
    ring_s: float | None = None
    up_after_s: float = 0.0
    first_command_s: float = 30.0
    transcripts: Sequence[str] = ("hello", "how can I help you")
    transcript_every_s: float = 0.25
    s_per_character: float = 0.06
    file_s: float = 1.0
    second_stream: Literal["refuse", "replace", "reconnect"] = "refuse"
    reconnect_for_s: float = 1.0
    fork_plan: CallPlan = field(default_factory=lambda: CallPlan(seconds=FORK_S))

    @property
    def patience_s(self) -> float:
        """For how long a stream whose socket is lost tries to connect again."""
        return self.reconnect_for_s if self.second_stream == "reconnect" else 0.0
