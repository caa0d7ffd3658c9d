"""What looks wrong about a call, said once in words that tell what to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mediaserver.logs import LimitedLog, shown
from mediaserver.media.playout import Playout
from mediaserver.media.playout.ledger import Ledger
from mediaserver.processors.api import Hint
from mediaserver.server.calls.audio.inbound import Inbound

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

NO_MARK_AFTER_S = 5.0
EARLY_MARKS = 2
# Telnyx has four codes; a peer that makes up others is not followed for ever.
MAX_SAID = 32
CHECK_MODE = (
    "the caller may hear nothing; is stream_bidirectional_mode rtp, and"
    " stream_bidirectional_target_legs right?"
)
NUMBERING = {
    "standing still": "most would be dropped as repeated",
    "running ahead": "as many would be missing as came",
}
SILENT_FOR_S = 10.0
# Looked at so long ago: this process stood still, and has not read what came meanwhile.
STOOD_STILL_S = 2.5
RATE_CHECK_S = 5.0
STEADY = ("PCMU", "PCMA", "L16", "G722")


class Diagnostics:
    """Looks at one call about once a second; each finding comes once.

    Args:
        now: monotonic seconds of the call's start.
    """

    def __init__(self, now: float) -> None:
        self._said: set[str] = set()
        self._found: list[Hint] = []
        self._loud_at = self._looked_at = now
        self._byte_order_said = False

    def say_byte_order(self, call_id: str, inbound: Inbound) -> None:
        """Log, once it is known, how this call's L16 is read."""
        order = inbound.l16_byte_order
        if order is not None and not self._byte_order_said:
            self._byte_order_said = True
            text = "call %s: L16 is read as %s-endian"
            limited.info("byte orders", text, shown(call_id), order, call=call_id)

    def say_error(self, call_id: str, code: int | None, meaning: str) -> None:
        """Log what Telnyx refused: once a call and code, for it may refuse every message."""
        if f"error {code}" not in self._said and len(self._said) < MAX_SAID:
            self._said.add(f"error {code}")
            limited.warning(
                "errors from Telnyx",
                "call %s: Telnyx says %s %s; more of the same is only counted",
                shown(call_id),
                code,
                meaning,
                call=call_id,
            )

    def look(self, inbound: Inbound, playout: Playout, now: float) -> Sequence[Hint]:
        """What is newly found; nothing while it is not all read that came."""
        stood_still, self._looked_at = now - self._looked_at > STOOD_STILL_S, now
        if stood_still:
            self._loud_at = now
            return ()
        found = self._found = []
        self._look_at_marks(playout.ledger, now)
        if len(inbound.tracks) > 1 and playout.has_played and "outbound" in inbound.tracks:
            self._find(
                "hears_itself",
                "the stream has the outbound track, so a bot that listens to it hears itself",
            )
        if inbound.numbering_fault is not None:
            self._find(
                "numbering",
                "the chunks' numbers cannot be right"
                f" ({NUMBERING[inbound.numbering_fault]}) and are ignored, so what comes out of"
                " order stays so; chunk_numbering says how they count",
            )
        self._look_for_silence(inbound, now)
        self._look_at_rates(inbound)
        return found

    def _find(self, name: str, text: str) -> None:
        if name not in self._said:
            self._said.add(name)
            self._found.append(Hint(name, text))

    def _look_at_marks(self, ledger: Ledger, now: float) -> None:
        n_returned = ledger.returned_marks
        if not n_returned and ledger.overdue_s(now) > NO_MARK_AFTER_S:
            self._find("no_marks", f"audio was sent and no mark came back: {CHECK_MODE}")
        if n_returned == ledger.early_marks >= EARLY_MARKS:
            text = f"marks come back before their audio can be heard: {CHECK_MODE}"
            self._find("early_marks", text)

    def _look_for_silence(self, inbound: Inbound, now: float) -> None:
        decoder = inbound.tracks.get("inbound")
        if decoder is None or now - inbound.heard_at > 1.0 or not decoder.was_silent():
            self._loud_at = now
        elif now - self._loud_at >= SILENT_FOR_S:
            text = "media flows, but the caller's track has been silent for 10 s"
            self._find("silent", text)

    def _look_at_rates(self, inbound: Inbound) -> None:
        """Audio that comes at half or twice the pace of the clock has another rate."""
        for track, decoder in inbound.tracks.items():
            pace = decoder.pace(RATE_CHECK_S)
            if pace is None or 0.6 <= pace <= 1.7:
                continue
            # Codecs that leave out silence come slowly by their nature.
            if pace > 1.7 or decoder.decoder.codec in STEADY:
                self._find(
                    f"rate_{track}",
                    f"{track} audio comes {pace:.1f} times as fast as its {decoder.rate_hz} Hz:"
                    " the announced sample rate contradicts the payloads",
                )
