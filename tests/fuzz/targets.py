"""Which targets there are, and in which module; the attribute is the name in capitals.

None is imported before it is asked for: whoever instruments what it tests must come first.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.fuzz.harness import Target

FIXTURES = Path(__file__).parent / "fixtures"
MODULES = {
    "request_heads": "heads",
    "wire_messages": "wire",
    "stream_states": "wire",
    "websocket_frames": "frames",
    "rtp_packets": "forks",
    "forked_packets": "forks",
    "amrwb_framing": "codecs",
    "decoders": "codecs",
    "webhook_bodies": "webhooks",
    "webhook_headers": "webhooks",
    "settings": "configuration",
}
# What is instrumented, so that the fuzzer sees which branches an input takes.
INSTRUMENTED = ["mediaserver", "telephony_codecs", "websockets.frames", "websockets.protocol"]


def load(name: str) -> Target:
    """A target by its name."""
    module = importlib.import_module(f"tests.fuzz.{MODULES[name]}")
    target: Target = getattr(module, name.upper())
    return target
