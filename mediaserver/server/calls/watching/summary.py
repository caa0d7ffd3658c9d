"""A call's facts and figures at its end, collected in one place."""

from __future__ import annotations

from time import monotonic
from typing import Any

import msgspec

from mediaserver.observer import CallSummary
from mediaserver.server.calls.session import Session


def summary_of(session: Session, worker: int | None = None) -> CallSummary:
    """The summary of a session as it is now; final once it has ended.

    Args:
        session: whose.
        worker: the number of the process that carries it; None where there is but one.
    """
    chunks, levels, tally = session.inbound.chunks, session.inbound.levels, session.outbound.tally
    load = session.runner.load
    playout, now = session.outbound.playout, monotonic()
    return msgspec.structs.replace(
        _noted(session, _facts(session)),
        worker=worker,
        processors=session.runner.names,
        processor_errors=session.runner.n_errors,
        frames_in=chunks.delivered,
        frames_out=tally.n_messages,
        lost=chunks.missing,
        late=chunks.late,
        duplicate=chunks.duplicate,
        concealed=session.inbound.concealed,
        refused=session.n_refused,
        dropped_frames=load.dropped_frames,
        dropped_events=load.dropped_events,
        queued_frames=load.queued_frames,
        queued_events=load.queued_events,
        budget_overruns=load.budget_overruns,
        queued_s=0.0 if session.ended else playout.queued_s(now),
        lead_s=0.0 if session.ended else max(0.0, playout.ledger.dry_at - now),
        underruns=tally.underruns,
        marks_awaited=playout.ledger.n_awaited,
        dropped_s=tally.dropped_s + load.unsent_s,
        reorder_wait_s=session.inbound.reorder.wait_s,
        stalled_s=session.inbound.stalled_s,
        blocked_s=session.outbound.blocked_s,
        peak_dbfs=levels.peak_dbfs,
        level_dbfs=levels.mean_dbfs,
        plays={str(state): n for state, n in tally.plays.items()},
        marks={str(state): n for state, n in tally.marks.items()},
    )


def _facts(session: Session) -> CallSummary:
    facts, formats, start = session.facts, session.facts.formats, session.facts.start
    ended_at = monotonic() if session.ended_at is None else session.ended_at
    return CallSummary(
        call_id=facts.call_id,
        route=facts.route,
        reason=session.end_reason,
        stream_id=start.stream_id,
        caller=start.start.from_,
        callee=start.start.to,
        started_at=facts.started_at,
        duration_s=ended_at - session.began_at,
        codec=formats.codec,
        rate_hz=formats.rate,
        send_codec=formats.send_codec,
        send_rate_hz=formats.send_rate,
        send_mode=formats.send_mode,
        takeovers=facts.takeovers,
        can_play=facts.can_play,
    )


def _noted(session: Session, facts: CallSummary) -> CallSummary:
    """With what was found and done while it lived."""
    notes = session.watch.notes
    return msgspec.structs.replace(
        facts,
        has_played=notes.has_played or session.outbound.playout.has_played,
        spoken_s=notes.spoken_s,
        echo_delay_s=session.watch.echo.delay_s,
        held_up_s=notes.held_up_s,
        held_up_by=notes.held_up_by,
        holds_up_s=notes.holds_up_s,
        hints=dict(notes.hints),
        errors=dict(notes.errors),
        commands=dict(notes.commands),
        recordings=_recordings(session.state.get("recordings")),
    )


def _recordings(found: Any) -> tuple[str, ...]:
    """What ``record`` has noted in the call's state, where users' processors write, too."""
    return tuple(map(str, found)) if isinstance(found, list) else ()
