"""Plots as SVG texts: lines over numbers of calls, and a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 28, 40
COLOURS = ("#1668a8", "#c8501e", "#3a8a3a", "#7a4fa0")


class Series(NamedTuple):
    """One line: its name, and points (x, y) in rising order of x."""

    name: str
    points: Sequence[tuple[float, float]]


class _Axes:
    """Where values are on the picture; y begins at 0, or is logarithmic."""

    def __init__(self, most_x: float, most_y: float, least_y: float | None = None) -> None:
        self._most_x = most_x or 1.0
        self._most_y = most_y or 1.0
        self._least_y = least_y

    def x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / self._most_x

    def y(self, value: float) -> float:
        if self._least_y is None:
            part = value / self._most_y
        else:
            span = math.log10(self._most_y / self._least_y) or 1.0
            part = math.log10(max(value, self._least_y) / self._least_y) / span
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(1.0, part)


def lines(
    title: str, x_title: str, series: Sequence[Series], *, is_log: bool, at: float | None = None
) -> str:
    """A plot of several series; ``at`` marks an x, such as the knee."""
    points = [point for each in series for point in each.points]
    if not points:
        return ""
    top = nice(max(y for _, y in points))
    bottom = _power_below(min(y for _, y in points if y > 0)) if is_log else None
    if bottom is not None:
        top = max(_power_below(top) * 10, bottom * 10)
    axes = _Axes(max(x for x, _ in points), top, bottom)
    parts = [*_grid(axes, top, bottom), *_x_ticks(axes, sorted({x for x, _ in points}))]
    if at is not None:
        x = axes.x(at)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" class="at"/>'
        )
    for number, each in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in each.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="3" fill="{colour}">'
            f"<title>{escape(each.name)}: {y:g} at {x:g}</title></circle>"
            for x, y in each.points
        ]
        parts.append(_text(_LEFT + 8 + 130 * number, _TOP - 8, each.name, "start", colour))
    return _picture(title, x_title, parts)


def bars(title: str, x_title: str, buckets: Sequence[tuple[float, int]]) -> str:
    """A histogram: upper bounds, each a fixed factor above the one before, and counts."""
    if not buckets:
        return ""
    top = nice(max(count for _, count in buckets))
    axes = _Axes(len(buckets), top)
    parts = _grid(axes, top, None)
    for number, (bound, count) in enumerate(buckets):
        left, right, y = axes.x(number), axes.x(number + 1), axes.y(count)
        parts.append(
            f'<rect x="{left + 1:.1f}" y="{y:.1f}" width="{right - left - 2:.1f}"'
            f' height="{HEIGHT - _BOTTOM - y:.1f}" fill="{COLOURS[0]}">'
            f"<title>up to {bound:.3g}: {count}</title></rect>"
        )
        if number % max(1, len(buckets) // 8) == 0:
            parts.append(_text(right, HEIGHT - _BOTTOM + 16, f"{bound:.2g}", "middle"))
    return _picture(title, x_title, parts)


def nice(value: float) -> float:
    """The next of 1, 2, 5, 10, 20 … that is not below."""
    if value <= 0:
        return 1.0
    power = _power_below(value)
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def _power_below(value: float) -> float:
    return float(10.0 ** math.floor(math.log10(value)))


def _grid(axes: _Axes, top: float, bottom: float | None) -> list[str]:
    if bottom is None:
        values = [top * step / 5 for step in range(6)]
    else:
        decades = round(math.log10(top / bottom))
        values = [bottom * 10**step for step in range(decades + 1)]
    parts = []
    for value in values:
        y = axes.y(value)
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        )
        parts.append(_text(_LEFT - 6, y + 4, f"{value:g}", "end"))
    return parts


def _x_ticks(axes: _Axes, values: Sequence[float]) -> list[str]:
    parts, last = [], -math.inf
    for value in values:
        x = axes.x(value)
        if x - last >= 36:
            parts.append(_text(x, HEIGHT - _BOTTOM + 16, f"{value:g}", "middle"))
            last = x
    return parts


def _text(x: float, y: float, text: str, anchor: str, colour: str = "currentColor") -> str:
    how = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {how}>{escape(text)}</text>"


def _picture(title: str, x_title: str, parts: Sequence[str]) -> str:
    body = "\n".join([*parts, _text(WIDTH / 2, HEIGHT - 6, x_title, "middle")])
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' role="img" aria-label="{escape(title)}">\n{body}\n</svg></figure>'
    )
