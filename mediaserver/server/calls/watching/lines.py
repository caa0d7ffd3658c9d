"""The two lines that each call has in the log: at its start, and at its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from mediaserver.logs import LimitedLog, Numbers, shown
from mediaserver.observer import CallSummary
from mediaserver.server.calls.facts import CallFacts
from mediaserver.server.calls.selection import Selection

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


def say_opened(facts: CallFacts, selection: Selection) -> Sequence[str]:
    """What comes and goes, and who processes it; names of the parameters that are ignored."""
    call_id, formats = shown(facts.call_id), facts.formats
    chain = "+".join(choice.spec.name for choice in selection.chain) or "no processor"
    limited.each(
        logging.INFO,
        "call started",
        "call %s: %s in, %s out, %s%s",
        call_id,
        formats.codec,
        formats.send_codec,
        chain,
        f" by the route {selection.route}" if selection.route else "",
        call=facts.call_id,
    )
    for name, guess in selection.ignored:
        limited.warning(
            "parameters ignored",
            "call %s: the parameter param_%s is ignored: no allow of its processors names it%s",
            call_id,
            shown(name),
            guess,
            call=facts.call_id,
        )
    return [name for name, _ in selection.ignored]


def say_ended(summary: CallSummary, numbers: Numbers) -> None:
    """Its figures, and what went wrong."""
    call_id = summary.call_id
    limited.each(
        logging.INFO,
        "call ended",
        "call %s ended: %s",
        shown(call_id),
        summary.line(numbers),
        call=call_id,
        fields=msgspec.to_builtins(summary.hidden(numbers)),
    )
