"""A bridge: calls of the same room hear each other, whatever codecs they have.

The room is a parameter of the call; allow it in the server's TOML file:

    [[processors]]
    name = "examples/bridge.py:Bridge"
    allow = ["room"]
"""

from __future__ import annotations

from mediaserver import Call, Filter, Frame

# Without workers and isolation one process has all calls, so that a plain dictionary knows them.
ROOMS: dict[str, list[Call]] = {}


class Bridge(Filter):
    """Plays each caller to the other one of the room; a third one waits until one leaves.

    Args:
        call: the call.
        room: calls with the same one meet.
    """

    def __init__(self, call: Call, room: str = "lobby") -> None:
        super().__init__(call)
        self.calls = ROOMS.setdefault(room, [])
        self.calls.append(call)

    def process(self, frame: Frame) -> Frame:
        """Send the caller's audio to the other one."""
        if frame.track == "inbound" and self.call in self.calls[:2]:
            for other in self.calls[:2]:
                if other is not self.call:
                    other.play_live(frame.samples, frame.rate)
        return frame

    def close(self) -> None:
        """Leave the room."""
        self.calls.remove(self.call)
