"""The plots of a run: latency distributions, and the cost of a message against the number of streams.

``python -m bench.plots RESULT.json FOLDER`` draws those of an earlier run.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.svg import Axis, Line, chart, linear_axis, log_axis

#: Workloads whose latencies are drawn.
_LATENCIES: Final = ("get1", "get64", "ws16x64", "events", "mixed16")
_ROUTER_LATENCIES: Final = ("get1-varied-one-core", "get64-varied", "ws16x64", "events-one-core", "mixed16")
_STREAMS: Final = "streams-"
_ORDER: Final = ("agent", "splice", "direct", "dials", "tunnel", "nginx", "haproxy")
#: The lines of the plots of a router.
_ROUTER_ORDER: Final = ("router", "splice2", "direct", "configurable-http-proxy", "nginx", "haproxy")
_PERCENTS: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)
#: Position of the longest latency, which is not a percentile.
_LAST: Final = 99.995

Row = Mapping[str, Any]


def draw(whole: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the plots for which a result has data; return the files written."""
    rows = {row["name"]: row for row in whole["workloads"]}
    made = {f"latency-{name}.svg": _latency(rows[name], _ORDER) for name in _LATENCIES if name in rows}
    routed = [name for name in _ROUTER_LATENCIES if name in rows and "router" in rows[name]["ways"]]
    made |= {f"router-{name}.svg": _latency(rows[name], _ROUTER_ORDER) for name in routed}
    steps = [row for name, row in rows.items() if name.startswith(_STREAMS)]
    if len(steps) > 1:
        made["streams.svg"] = _streams(steps)
    if made:
        folder.mkdir(parents=True, exist_ok=True)
    for name, document in made.items():
        (folder / name).write_text(document)
    return [folder / name for name in made]


def _ways(row: Row, order: Sequence[str]) -> list[str]:
    return [name for name in order if name in row["ways"]]


def _tail(percent: float) -> float:
    """Return the position of a percentile on an axis where each nine takes the same room."""
    return -math.log10(1 - min(percent, _LAST) / 100)


def _latency(row: Row, order: Sequence[str]) -> str:
    lines = []
    for name in _ways(row, order):
        points = [(_tail(percent), us) for percent, us in row["ways"][name]["distribution_us"] if us > 0]
        if points:
            lines.append(Line(name, points))
    across = Axis("percentile", 0, _tail(_LAST), [(_tail(percent), f"{percent:g} %") for percent in _PERCENTS])
    up = log_axis("latency, us", [us for line in lines for _, us in line.points])
    return chart(f"Latency: {row['title']}", across, up, lines)


def _streams(steps: Sequence[Row]) -> str:
    lines = []
    for name in _ways(steps[0], _ORDER):
        points = [(float(row["name"].removeprefix(_STREAMS)), float(row["ways"][name]["cost"])) for row in steps]
        lines.append(Line(name, points, markers=True))
    counts = [count for count, _ in lines[0].points]
    ticks = [(count, f"{count:,.0f}") for count in counts]
    across = Axis("open WebSockets", min(counts), max(counts), ticks, log=True)
    up = linear_axis("CPU of the process per message, us", [cost for line in lines for _, cost in line.points])
    return chart("Cost of a 16 B message and its echo against open streams", across, up, lines)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
