"""The promises about the speed of the agent and of the router, and whether a run kept them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.measure import Result
from bench.report import number, table
from bench.rig import AGENT, SPLICE
from bench.workload import DIRECT, ROUTER, TWO_SPLICES

#: Computes a figure from results by their workloads' names; KeyError if one that it needs was not measured.
Figure = Callable[[Mapping[str, Result]], float]
#: Prints what a figure is made of.
Detail = Callable[[Mapping[str, Result]], str]

#: What a router and its agent may add to the latency of an event, to what two splices add in the same run: 60 us, where
#: two splices added 18.
_EVENT_LATENCY: Final = 3.3


@dataclass(frozen=True)
class Promise:
    """``figure`` is at most ``limit``, or at least ``limit`` if ``at_least``; ``detail`` is printed beside it."""

    text: str
    limit: float
    figure: Figure
    at_least: bool = False
    detail: Detail | None = None

    def kept(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def _ratio(name: str) -> Figure:
    return lambda results: results[name].ratio


def _cost(name: str) -> Figure:
    return lambda results: results[name].series[AGENT].cost


def _added_us(name: str, way: str = AGENT, to: str = DIRECT) -> Figure:
    """Return the median latency that a way adds to that of another one, of rounds of the same turn."""
    return lambda results: statistics.median(results[name].differences(way, to))


def _added_by_router(name: str) -> Figure:
    """Return what router and agent add to the direct latency, to what two splices add; infinite if they add nothing."""
    both, splices = _added_us(name, ROUTER), _added_us(name, TWO_SPLICES)
    return lambda results: both(results) / splices(results) if splices(results) > 0 else float("inf")


def _added_detail(name: str) -> Detail:
    both, splices = _added_us(name, ROUTER), _added_us(name, TWO_SPLICES)
    return lambda results: f"{number(both(results))} us to {number(splices(results))}"


def _routed(name: str) -> Figure:
    """Return the ratio of router and agent together to two splices."""
    return lambda results: statistics.median(results[name].ratios_to(ROUTER, TWO_SPLICES))


def _routed_cost(name: str) -> Figure:
    return lambda results: results[name].series[ROUTER].cost


def _growth(name: str) -> Figure:
    """Return the growth of a message's cost from 100 streams to the most of them, to that of the splice in this run."""

    def growth(results: Mapping[str, Result]) -> float:
        steps = {int(step.removeprefix(name)): results[step] for step in results if step.startswith(name)}
        few, many = steps[100].series, steps[max(steps, default=100)].series
        return many[AGENT].cost / few[AGENT].cost / (many[SPLICE].cost / few[SPLICE].cost)

    return growth


def _kept(results: Mapping[str, Result]) -> float:
    extra = results["mixed16"].series[AGENT].extra()
    return extra["bulk_beside"] / extra["bulk_alone"]


PROMISES: Final = (
    Promise("GET 12 B, 64 in flight, all different, ratio", 1.6, _ratio("get64-varied")),
    Promise("GET 12 B, 1 in flight, all different, two cores, ratio", 1.6, _ratio("get1-varied")),
    Promise("WebSocket echo 16 B, 64 sockets, ratio", 1.2, _ratio("ws16x64")),
    Promise("WebSocket echo 64 KiB, 1 in flight, ratio", 1.8, _ratio("ws64k")),
    Promise("1 GiB down, ratio", 1.3, _ratio("down")),
    Promise("1 GiB up, ratio", 1.3, _ratio("up")),
    Promise("file down, ratio", 1.3, _ratio("file-down")),
    Promise("file up, ratio", 1.3, _ratio("file-up")),
    Promise("job create-start-wait-remove, us", 1000, _cost("job")),
    Promise("idle WebSocket, B", 4000, _cost("ws-idle")),
    Promise("idle WebSocket among 1,000, B", 3000, _cost("ws-idle-1000")),
    Promise("idle link, B", 32_000, _cost("links-idle")),
    Promise("event-stream latency added, us p50", 60, _added_us("events")),
    Promise(
        "event-stream latency beyond the splice's, agent on its own core, us p50",
        60,
        _added_us("events-own-core", to=SPLICE),
    ),
    Promise("growth from 100 to 10,000 streams, to the splice's, one core", 1.1, _growth("streams-")),
    Promise(
        "growth from 100 to 10,000 streams, to the splice's, agent on its own core",
        1.1,
        _growth("own-core-streams-"),
    ),
    Promise("GET beside 16 downloads, p99 to alone", 5, _cost("mixed16")),
    Promise("throughput of 16 downloads beside GETs", 0.85, _kept, at_least=True),
    Promise("download over 50 ms, time to TCP's own", 2, _ratio("far-down")),
    Promise("upload over 50 ms, time to TCP's own", 2, _ratio("far-up")),
    Promise("router: GET 12 B, 64 in flight, all different, to two splices", 1.6, _routed("get64-varied")),
    Promise("router: GET 12 B, 1 in flight, all different, one core, to two", 1.9, _routed("get1-varied-one-core")),
    Promise("router: WebSocket echo 16 B, 64 sockets, to two splices", 0.8, _routed("ws16x64")),
    Promise("router: WebSocket echo 64 KiB, 1 in flight, to two splices", 1.6, _routed("ws64k")),
    Promise("router: 1 GiB down, to two splices", 1.1, _routed("down")),
    Promise("router: 1 GiB up, to two splices", 1.1, _routed("up")),
    Promise("router: idle WebSocket among 1,000, both processes, B", 8000, _routed_cost("ws-idle-1000")),
    Promise("router: idle connection of a client, B", 6000, _routed_cost("clients-idle")),
    Promise(
        "router: event-stream latency added by both, one core, p50, to that of two splices",
        _EVENT_LATENCY,
        _added_by_router("events-one-core"),
        detail=_added_detail("events-one-core"),
    ),
    Promise("router: GET beside 16 downloads, p99 to alone", 5, _routed_cost("mixed16")),
)


def judged(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return text, limit, value and whether it is kept, for each promise that was measured, and a detail of some."""
    by_name = {result.workload.name: result for result in results}
    found = []
    for promise in PROMISES:
        try:
            value = promise.figure(by_name)
        except KeyError:
            continue
        found.append(
            {"text": promise.text, "limit": promise.limit, "value": value, "kept": promise.kept(value)}
            | ({"at_least": True} if promise.at_least else {})
            | ({"detail": promise.detail(by_name)} if promise.detail is not None else {})
        )
    return found


def promises(judgements: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of promises; empty if none was measured."""
    rows = [["", "promised", "measured", ""]]
    for one in judgements:
        limit = f"{'at least' if one.get('at_least') else 'at most'} {one['limit']:g}"
        value = number(one["value"]) + (f" ({one['detail']})" if "detail" in one else "")
        rows.append([one["text"], limit, value, "kept" if one["kept"] else "MISSED"])
    return table(rows, left={0, 3}) if len(rows) > 1 else ""
