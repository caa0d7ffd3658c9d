"""Call analytics: who speaks, and for how long both speak at once. Needs both tracks.

mediaserver serve --processor examples/talk_over.py:talk_over
mediaserver control streaming-start "$CALL" --stream-track both_tracks …
"""

from __future__ import annotations

import logging

import numpy as np

from mediaserver import Call, processor

log = logging.getLogger(__name__)

WINDOW_S = 0.1


@processor(rate=8000)
async def talk_over(call: Call, threshold_db: float = -35.0) -> None:
    """Log the shares of speech when the call is over.

    Args:
        call: the call.
        threshold_db: louder than this, in dB of full scale, is speech. Telnyx fills quiet
            lines with noise of about -35 dB on some routes: try what yours needs.
    """
    window = round(WINDOW_S * call.rate)
    threshold = 32768 * 10 ** (threshold_db / 20)
    spoken_s = {"inbound": 0.0, "outbound": 0.0, "both": 0.0}
    rest = np.zeros((0, 2), np.int16)
    async for block in call.pairs():
        rest = np.concatenate((rest, block))
        while len(rest) >= window:
            level = np.sqrt(np.mean(rest[:window].astype(np.float64) ** 2, axis=0))
            rest = rest[window:]
            inbound, outbound = level > threshold
            spoken_s["inbound"] += WINDOW_S * bool(inbound)
            spoken_s["outbound"] += WINDOW_S * bool(outbound)
            spoken_s["both"] += WINDOW_S * bool(inbound and outbound)
    told = ", ".join(f"{who} {seconds:.1f} s" for who, seconds in spoken_s.items())
    log.info("call %s: %s", call.id, told)
