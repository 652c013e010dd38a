"""Write the tables and the JSON of a run, and describe the machine."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.measure import Result, Series
from bench.rig import AGENT, BASE, SPLICE
from bench.workload import CHP, DIALS, DIRECT, NO_FLOW, PEERS, ROUTER, TUNNEL, TWO_SPLICES
from pagent import __version__, is_compiled

RESULTS: Final = Path(__file__).resolve().parent / "results"
#: Ways that have a column of their own in the main table.
_OTHERS: Final = (BASE, DIALS, TUNNEL, *PEERS, NO_FLOW)
_LIBRARIES: Final = ("uvloop", "aiohttp", "msgpack", "wsproto")


def surroundings(peers: dict[str, str]) -> dict[str, Any]:
    """Return the machine, the versions and the commit."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _git("rev-parse", "--short=12", "HEAD") or "none",
        "changed": bool(_git("status", "--porcelain")),
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "system": f"{platform.system()} {platform.release()}",
            "load": os.getloadavg()[0],
        },
        "versions": {"pagent": __version__ + (", compiled" if is_compiled() else ", NOT COMPILED")}
        | {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _LIBRARIES}
        | peers,
    }


def _git(*args: str) -> str:
    try:
        done = subprocess.run(
            ["git", *args], cwd=RESULTS.parent, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def save(path: Path, whole: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1) + "\n")


def heading(around: dict[str, Any]) -> str:
    machine = around["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    changed = " with changes" if around["changed"] else ""
    return (
        f"{around['time']}, commit {around['commit']}{changed}\n"
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, load at the start {machine['load']:.1f}\n"
        f"{versions}\n"
    )


def costs(results: Sequence[Result]) -> str:
    """Return the main table, with the agent's ratio first. Other ways have ratios, too."""
    others = [name for name in _OTHERS if any(name in result.series for result in results)]
    heads = ["ratio", "rounds", "workload", "agent", "to", *others, "agent/s", "to/s", "p50 us", "p99", "p99.9"]
    rows = [[*heads, "to: p50", "p99", "p99.9"]]
    for result in results:
        agent, to = result.series[AGENT], result.series[result.reference]
        found = sorted(result.ratios(AGENT))
        unit = result.workload.cost_unit
        per = f"{unit}/{result.workload.unit}" if unit in ("us", "B") else unit
        rows.append(
            [
                f"{result.ratio:.2f}",
                f"{found[0]:.2f}-{found[-1]:.2f}",
                result.workload.title,
                f"{number(agent.cost)} {per}",
                f"{number(to.cost)}{'' if result.reference == SPLICE else ' (' + result.reference + ')'}",
                *(_other(result, name) for name in others),
                number(agent.rate),
                number(to.rate),
                *_latencies(agent),
                *_latencies(to),
            ]
        )
    return table(rows, left={2})


def routed(results: Sequence[Result]) -> str:
    """Return the table of the router: the CPU time of each process, and the ratio of both to two splices."""
    others = [name for name in (*PEERS, CHP) if any(name in result.series for result in results)]
    rows = [
        ["ratio", "rounds", "workload", "router", "agent", "both", "two splices", *others, "router/s", "p50 us", "p99"]
    ]
    for result in results:
        if ROUTER not in result.series or TWO_SPLICES not in result.series:
            continue
        found = sorted(result.ratios_to(ROUTER, TWO_SPLICES))
        series = result.series[ROUTER]
        has_cpu = result.workload.cost_unit == "us"
        parts = [number(series.part_us(place)) for place in (0, 1)] if has_cpu else ["-", "-"]
        rows.append(
            [
                f"{statistics.median(found):.2f}",
                f"{found[0]:.2f}-{found[-1]:.2f}",
                result.workload.title,
                *parts,
                f"{number(series.cost)} {result.workload.cost_unit}",
                number(result.series[TWO_SPLICES].cost),
                *(_other(result, name, TWO_SPLICES) for name in others),
                number(series.rate),
                *_latencies(series)[:2],
            ]
        )
    return table(rows, left={2}) if len(rows) > 1 else ""


def comparison(results: Sequence[Result]) -> str:
    """Return the ratios of this tree to the base, below 1 is better, with the 90 % interval of their median."""
    rows = [["this/base", "90 %", "rounds", "workload", "base", "this"]]
    for result in results:
        if BASE in result.series:
            found = result.ratios_to(AGENT, BASE)
            low, high = median_interval(found)
            costs = [number(result.series[name].cost) for name in (BASE, AGENT)]
            middle = f"{statistics.median(found):.3f}"
            rows.append([middle, f"{low:.3f}-{high:.3f}", str(len(found)), result.workload.title, *costs])
    return table(rows, left={3})


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 90 % confidence interval of the median, by order statistics (the sign test).

    Of fewer than six values it is their whole range.
    """
    ordered = sorted(values)
    cut = max(0, math.floor((len(ordered) - 1.645 * math.sqrt(len(ordered))) / 2))
    return ordered[cut], ordered[len(ordered) - 1 - cut]


def together(results: Sequence[Result]) -> str:
    """Return the table of how interactive traffic and bulk affect each other."""
    rows = [
        ["workload", "way", "GET p99 us", "beside", "", "WebSocket p99", "beside", "", "bulk MB/s", "beside", "kept"]
    ]
    for result in results:
        for name, series in result.series.items():
            if extra := series.extra():
                row = [result.workload.name, name]
                for kind in ("get", "ws"):
                    alone, beside = extra[f"{kind}_p99_alone_us"], extra[f"{kind}_p99_beside_us"]
                    row += [number(alone), number(beside), f"x {beside / alone:.1f}"]
                alone, beside = extra["bulk_alone"], extra["bulk_beside"]
                rows.append([*row, number(alone), number(beside), f"{beside / alone:.0%}"])
    return table(rows, left={0, 1}) if len(rows) > 1 else ""


def limits(results: Sequence[Result]) -> str:
    """Return the table of how busy the processes were, and what the generator and the job could do."""
    rows = [
        ["workload", "agent busy", "generator", "job", "agent/s", "generator's limit/s", "job's limit/s", "direct/s"]
    ]
    for result in results:
        agent = result.series[AGENT]
        if agent.extra():
            continue  # rounds of several parts, which this table does not divide
        direct = result.series.get(DIRECT)
        rows.append(
            [
                result.workload.title,
                *(f"{agent.busy(part):.0%}" for part in ("cpu", "generator", "job")),
                number(agent.rate),
                number(agent.limit("generator")),
                number(agent.limit("job")),
                number(direct.rate) if direct else "-",
            ]
        )
    return table(rows, left={0})


def _other(result: Result, name: str, reference: str | None = None) -> str:
    """Return the ratio of a way to ``reference``, to that of the row by default."""
    if name not in result.series:
        return "-"
    return f"{statistics.median(result.ratios_to(name, reference or result.reference)):.2f}"


def _latencies(series: Series) -> list[str]:
    found = series.percentiles_us()
    # A round of one exchange has no distribution.
    return [number(value) for value in found] if len(series.latencies_ns) >= 100 else ["-", "-", "-"]


def number(value: float) -> str:
    """Return a number with three significant digits and without an exponent."""
    if value == float("inf"):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(rows: Sequence[Sequence[str]], left: set[int]) -> str:
    """Return lines with aligned columns; those in ``left`` are left-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]]) + "\n"
