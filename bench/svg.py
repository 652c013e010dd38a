"""Draw line charts as SVG without a library: axes, lines and a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

_WIDTH: Final = 720
_HEIGHT: Final = 420
_LEFT: Final = 70
_RIGHT: Final = 130
_TOP: Final = 44
_BOTTOM: Final = 52
#: Colours that most people can distinguish (Okabe and Ito).
_COLOURS: Final = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")


@dataclass(frozen=True)
class Line:
    """``points``: x and y in the units of the axes."""

    label: str
    points: Sequence[tuple[float, float]]
    markers: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high``. ``ticks``: the places of grid lines, and their labels."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def place(self, value: float) -> float:
        """Return the position of a value: 0 at the low end, 1 at the high end."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, 1e-12))
        return (at - low) / (high - low)


def log_axis(title: str, values: Sequence[float]) -> Axis:
    """Return an axis from the 1, 2 or 5 below the least of positive values to the one above the greatest."""
    steps = [mantissa * 10.0**exponent for exponent in range(-3, 10) for mantissa in (1, 2, 5)]
    low = max(step for step in steps if step <= min(values))
    high = min(step for step in steps if step >= max(values) and step > low)
    return Axis(title, low, high, [(step, f"{step:,g}") for step in steps if low <= step <= high], log=True)


def linear_axis(title: str, values: Sequence[float]) -> Axis:
    """Return an axis from zero to a round number above the greatest value."""
    greatest = max(values)
    size = 10.0 ** math.floor(math.log10(greatest)) / 2
    while greatest / size > 8:
        size *= 2
    count = math.floor(greatest / size) + 1
    return Axis(title, 0, size * count, [(size * at, f"{size * at:,g}") for at in range(count + 1)])


def chart(title: str, across: Axis, up: Axis, lines: Sequence[Line]) -> str:
    """Return a whole SVG document."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 24, title, size=15),
        *_axes(across, up),
    ]
    for number, line in enumerate(lines):
        parts += _line(line, _COLOURS[number % len(_COLOURS)], across, up)
        parts += _legend(number, line.label)
    return "\n".join([*parts, "</svg>", ""])


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.place(value) * (_HEIGHT - _TOP - _BOTTOM)


def _axes(across: Axis, up: Axis) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value, label in across.ticks:
        x = _x(across, value)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#dddddd"/>')
        parts.append(_text(x, bottom + 18, label, anchor="middle"))
    for value, label in up.ticks:
        y = _y(up, value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#dddddd"/>')
        parts.append(_text(_LEFT - 8, y + 4, label, anchor="end"))
    parts.append(f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" stroke="#333333" fill="none"/>')
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 12, across.title, anchor="middle"))
    middle = (_TOP + bottom) / 2
    parts.append(_text(18, middle, up.title, anchor="middle", extra=f' transform="rotate(-90 18 {middle})"'))
    return parts


def _line(line: Line, colour: str, across: Axis, up: Axis) -> list[str]:
    places = [(_x(across, x), _y(up, y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    if line.markers:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
    return parts


def _legend(number: int, label: str) -> list[str]:
    x, y = _WIDTH - _RIGHT + 14, _TOP + 12 + 20 * number
    colour = _COLOURS[number % len(_COLOURS)]
    return [f'<path d="M{x} {y - 4}h20" stroke="{colour}" stroke-width="3"/>', _text(x + 26, y, label)]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, extra: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#333333"{extra}>'
        f"{escape(text)}</text>"
    )
