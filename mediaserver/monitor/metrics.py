"""``/metrics``: counters and figures of all processes, in the text format of Prometheus.

``prometheus_client`` can add up several processes, but it does so through files, which stay behind
when a process dies. So this module asks the processes (``Service.ask``) and writes their answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediaserver.counters import COUNTERS, VALUES, WEBHOOKS
from mediaserver.figures.figures import Figures, Measured, counted, total
from mediaserver.figures.table import FIGURES, OUTCOMES, WORKER_STATES, Figure
from mediaserver.logs import LimitedLog
from mediaserver.monitor.gathered import Gathered
from mediaserver.monitor.processes import used_by
from mediaserver.server.base import Service
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

PREFIX = "mediaserver_"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A worker that dies takes with it what it measured behind its last answer.
ASK_EVERY_S = 1.0
BEAT_S = 0.05
# Families of counters: what the value behind the dot is.
FAMILY_LABELS = {
    "bad_request.*": "kind",
    "refused.*": "kind",
    "fork_refused.*": "kind",
    "closed.*": "code",
    "ended.*": "reason",
    "tokens.*": "verdict",
}
# Names that say more alone than the counter's.
NAMES = {
    "calls": "calls",
    "refused.*": "refused_messages",
    "fork_refused.*": "refused_packets_of_forks",
    "closed.*": "closed_sockets",
    "ended.*": "ended_calls",
    "bad_request.*": "bad_requests",
}
# Close codes that have a meaning; a peer may send any other.
CLOSE_CODES = frozenset(str(code) for code in range(1000, 1016))


class Metrics:
    """Asks all processes, and writes what they say.

    **Call ``start`` once the service runs, and ``close`` at its end.**

    Args:
        settings: see ``Settings``.
        service: the media side.
        own: figures of this process that are not the service's: webhooks, commands.
    """

    def __init__(
        self, settings: Settings, service: Callable[[], Service], own: Callable[[], Figures]
    ) -> None:
        self._settings = settings
        self._service = service
        self._own = own
        self._gathered = Gathered()
        self._began_at = time.time()
        self._task: asyncio.Task[None] | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._lags = Figures()

    @property
    def route(self) -> Route:
        """``/metrics``."""

        async def metrics(_: Request) -> Response:
            return Response(text_of(await self._families()), media_type=MEDIA_TYPE)

        return Route("/metrics", metrics)

    def start(self) -> None:
        """Hear workers regularly, so that little is lost with one that dies."""
        if self._settings.workers > 1:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._ask_regularly())
            self._look_again(loop)

    async def close(self) -> None:
        """Ask no more."""
        if self._beat is not None:
            self._beat.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after a beat how late the loop is; where it carries calls, somebody else does."""
        due = loop.time() + BEAT_S

        def look() -> None:
            self._lags.observe("loop_lag_seconds", max(0.0, loop.time() - due), "server")
            self._look_again(loop)

        self._beat = loop.call_at(due, look)

    async def _ask_regularly(self) -> None:
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            await self._gather()

    async def _gather(self) -> Figures:
        read = []
        for index, body in await self._service().ask("figures"):
            try:
                read.append((index, msgspec.msgpack.decode(body, type=Measured)))
            except msgspec.MsgspecError as exc:  # a broken worker's: the others' are good
                limited.error("answers", "the figures of worker %s cannot be read: %s", index, exc)
        return self._gathered.heard(read)

    async def _families(self) -> list[Metric]:
        gathered = await self._gather()
        # The counters behind it: what the answers hold has been counted by then.
        service = self._service()
        return [
            *counter_families(service.counters),
            *figure_families(total((gathered, self._lags, self._own(), self._of_server(service)))),
        ]

    def _of_server(self, service: Service) -> Figures:
        figures = used_by(service.pids)
        figures.set("live_calls", service.n_calls)
        figures.set("max_calls", self._settings.max_calls)
        figures.set("connections", service.n_connections)
        figures.set("ready", service.status == "ready")
        figures.set("start_time_seconds", self._began_at)
        figures.set("build_info", 1, _version())
        states = Counter(dict.fromkeys(WORKER_STATES, 0) if self._settings.workers > 1 else {})
        states.update(service.worker_states)
        for state, n in states.items():
            figures.set("workers", n, state)
        return figures


def _version() -> str:
    try:
        return version("mediaserver")
    except PackageNotFoundError:  # run from its sources
        return "unknown"


def text_of(families: Iterable[Metric]) -> bytes:
    """The text for Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(list(families)))
    return generate_latest(registry)


class _Families:
    """A collector for Prometheus's registry, which gives these families of metrics."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def counter_families(counts: dict[str, int]) -> Iterator[Metric]:
    """Every counter of ``counters.py``; those that were never counted are 0."""
    for name, text in COUNTERS.items():
        is_family = name.endswith(".*")
        labels = [FAMILY_LABELS[name]] if is_family else []
        base = name.removesuffix(".*")
        family = CounterMetricFamily(f"{PREFIX}{NAMES.get(name, base)}", text, labels=labels)
        if is_family:
            for value, n in _values(name, counts).items():
                family.add_metric([value], n)
        else:
            family.add_metric([], counts.get(name, 0))
        yield family


def _values(family: str, counts: dict[str, int]) -> dict[str, int]:
    """The counters of a family by what is behind the dot: a finite set."""
    base = family.removesuffix("*")
    known = VALUES.get(family)
    values = dict.fromkeys(("1006", "other") if known is None else known, 0)
    for name, n in counts.items():
        if name.startswith(base):
            value = name.removeprefix(base)
            if value not in (CLOSE_CODES if known is None else known):
                value = "other"
            values[value] = values.get(value, 0) + n
    return values


# What is 0 until it happens, so that its first time is a change.
AT_FIRST: dict[str, tuple[tuple[str, ...], ...]] = {
    "commands_total": tuple((each,) for each in OUTCOMES),
    "webhooks_total": tuple((each,) for each in WEBHOOKS),
    "handler_drops_total": (("frames",), ("events",)),
    "socket_bytes_total": (("in",), ("out",)),
    "plays_total": (("played",), ("cleared",), ("failed",)),
    "marks_total": (("played",), ("cleared",)),
}


def figure_families(figures: Figures) -> Iterator[Metric]:
    """Every figure of the table."""
    for name, figure in FIGURES.items():
        if figure.bounds:
            yield _histogram(name, figure, figures)
            continue
        values = {key: n for key, n in figures.sums.items() if key[0] == name}
        values |= {key: n for key, n in figures.levels.items() if key[0] == name}
        first = AT_FIRST.get(name, () if figure.labels else ((),))
        values = dict.fromkeys(((name, *labels) for labels in first), 0.0) | values
        kind = GaugeMetricFamily if figure.is_level else CounterMetricFamily
        family = kind(f"{PREFIX}{name.removesuffix('_total')}", figure.help, labels=figure.labels)
        for (_, *labels), n in sorted(values.items()):
            family.add_metric(labels, n)
        yield family


def _histogram(name: str, figure: Figure, figures: Figures) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}{name}", figure.help, labels=figure.labels)
    found = {key: counts for key, counts in figures.histograms.items() if key[0] == name}
    if not figure.labels:
        found.setdefault((name,), [0.0] * (len(figure.bounds) + 2))
    for (_, *labels), counts in sorted(found.items()):
        buckets, n = [], 0.0
        for bound, count in zip((*figure.bounds, float("inf")), counts[:-1], strict=True):
            n += count
            buckets.append((_bound(bound), n))
        family.add_metric(labels, buckets, counts[-1])
    return family


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else f"{bound:g}"


def described() -> Iterator[tuple[Metric, tuple[str, ...]]]:
    """Every metric, without values, and its labels."""
    labels = [(FAMILY_LABELS[name],) if name in FAMILY_LABELS else () for name in COUNTERS]
    yield from zip(counter_families({}), labels, strict=True)
    yield from zip(
        figure_families(Figures()), (figure.labels for figure in FIGURES.values()), strict=True
    )


def own_figures(webhooks: dict[str, int] | None, parts: Iterable[Figures]) -> Figures:
    """What the server's own process measured: deliveries by verdict, and these."""
    return total((counted("webhooks_total", webhooks or {}), *parts))
