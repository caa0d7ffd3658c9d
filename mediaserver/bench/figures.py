"""The load that is asked for, and what is found, as data."""

from __future__ import annotations

from typing import Literal

import msgspec

from mediaserver.errors import MediaServerError

PERIOD_S = 0.020
LATE_MS = 100.0
"""A frame that comes back later than this is late: most jitter buffers are shorter."""

Outcome = Literal["good", "failed", "unknown"]


class BenchError(MediaServerError):
    """Nothing can be measured; the text says why, in one line."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The calls of each rung.

    Attributes:
        url: ws:// or wss://, where all of them go.
        mix: codecs, one for each call in turn, such as ``("PCMU", "PCMU", "AMR-WB>G722")``.
        frames: ``spread``: each frame leaves at its own moment of the 20 ms; ``bunches``: those of
            the same millisecond leave together.
        arrivals: calls begin at even intervals (``ramp``), or at random times (``poisson``).
        rate: calls that begin in a second.
        warmup_s: time from when all calls are up until counting begins.
        seconds: how long each rung is counted.
        seed: of the random numbers.
        token: the auth token that a call sends; None: none. It is in no report.
    """

    url: str
    mix: tuple[str, ...] = ("PCMU",)
    frames: Literal["spread", "bunches"] = "spread"
    arrivals: Literal["ramp", "poisson"] = "ramp"
    rate: float = 200.0
    warmup_s: float = 1.0
    seconds: float = 5.0
    seed: int = 1
    token: str | None = None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of the generator has to do for one rung.

    Attributes:
        load: the same for all processes.
        slots: which of the ``n_calls`` are its calls; when a frame is due depends on it.
        n_calls: calls of all processes.
        first_number: makes the calls' ids differ from those of other rungs.
        begin_s: when the schedule begins, on the monotonic clock of this machine.
    """

    load: Load
    slots: tuple[int, ...]
    n_calls: int
    first_number: int
    begin_s: float


class Ready(msgspec.Struct, frozen=True):
    """A process's calls have all been tried: so many are up."""

    n_up: int


class Window(msgspec.Struct, frozen=True):
    """What is counted: frames due from ``begin_s`` to ``end_s``, when the sending ends."""

    begin_s: float
    end_s: float


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one process found.

    Attributes:
        sent: frames due in the window.
        returned: those of them whose audio came back.
        wrong: replies that were not the audio that was sent.
        refused: calls that the server did not take (503, 1013).
        problems: what else went wrong, and how often.
        round_trips_us: how long they took from when they were due, as an HdrHistogram.
        lateness_us: how late they left, the same.
        cpu_share: CPU time of the process by the time of the window.
    """

    sent: int
    returned: int
    wrong: int
    refused: int
    problems: dict[str, int]
    round_trips_us: bytes
    lateness_us: bytes
    cpu_share: float


class ServerCost(msgspec.Struct, frozen=True, kw_only=True):
    """What the server used in the window; None: not known.

    Attributes:
        cpu_us_per_frame: all its processes, by frames that came back.
        cpu_percent: of one core.
        waited_percent: time that it could have run, but had no core.
        memory_kb_per_call: PSS beyond that without calls.
        loop_lag_ms: p99, as its metrics say, rounded up to their next bound.
    """

    cpu_us_per_frame: float | None = None
    cpu_percent: float | None = None
    waited_percent: float | None = None
    memory_kb_per_call: float | None = None
    loop_lag_ms: float | None = None


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """What so many calls came to.

    Attributes:
        n_calls: that were asked for.
        n_up: that were up.
        outcome: whether they were served well; ``unknown``: the generator was too slow to tell.
        why: the reasons, if it is not good.
        round_trip_ms: p50, p95, p99, p99.9 and max.
        lateness_ms: of the generator, the same.
        late: frames that took longer than ``LATE_MS``.
        generator_percent: of a core; that of the busiest process.
        histogram: upper bounds in ms, and how many frames were between them.
    """

    n_calls: int
    n_up: int
    outcome: Outcome
    why: list[str]
    sent: int
    returned: int
    wrong: int
    refused: int
    late: int
    problems: dict[str, int]
    round_trip_ms: dict[str, float]
    lateness_ms: dict[str, float]
    generator_percent: float
    server: ServerCost
    histogram: list[tuple[float, int]]

    @property
    def lost(self) -> int:
        """Frames whose audio did not come back."""
        return self.sent - self.returned


class Knee(msgspec.Struct, frozen=True):
    """The largest number of calls that was served well, and what limited it.

    Attributes:
        n_calls: that number; 0: no rung was served well.
        limit: ``server``: it did not serve more well; ``generator``: it was too slow to measure
            more; ``asked``: all calls that were asked for were served well.
    """

    n_calls: int
    limit: Literal["server", "generator", "asked"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        machine: what the figures depend on.
        load: of each rung.
        server: its command, or that it is somebody else's.
        baseline: a few calls, against which p99 is judged.
        rungs: in the order in which they were measured.
        knee: the most calls.
        took_s: how long it took.
    """

    machine: dict[str, str]
    load: Load
    server: str
    baseline: Rung
    rungs: list[Rung]
    knee: Knee
    took_s: float
