"""The bench as a program: every workload comes to a figure, and what is written can be read."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import peers
from bench.catalogue import select, workloads
from bench.workload import CHP, EVERY, PEERS, ROUTED, ROUTER, Scale
from tests.kit.peer import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads CPU times as Linux reports them")

NAMES = [workload.name for workload in workloads(Scale(tiny=True))]
UNROUTED = (
    "--no-peers",
    *(part for name in ("dials", "tunnel", "router", "splice2") for part in ("--without", name)),
)
ALONE = (*UNROUTED, "--without", "direct")


async def run_bench(folder: Path, *args: str) -> dict[str, Any]:
    """The result of ``python -m bench --tiny``."""
    path = folder / "result.json"
    command = ["-m", "bench", "--tiny", "--rounds", "1", "--json", str(path), *args]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 0, output.decode()
        result: dict[str, Any] = json.loads(path.read_text())
        return result
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def left_files(folder: Path) -> list[str]:
    """Temporary folders of the bench and of its agents."""
    return sorted(path.name for path in folder.glob("pagent-*"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_workload_comes_to_a_figure(name: str, tmp_path: Path) -> None:
    result = await run_bench(tmp_path, "--only", name, *ALONE)
    rows = result["workloads"]
    assert rows
    for row in rows:
        assert row["name"] == name or row["name"].startswith(f"{name}-")
        assert {"agent", row["reference"]} <= row["ways"].keys()
        for way in row["ways"].values():
            assert math.isfinite(way["cost"])
            assert way["rate"] > 0
    assert left_files(tmp_path) == []


async def test_every_way_is_measured_in_one_run_and_drawn(tmp_path: Path) -> None:
    only = ("--only", "get64", "--only", "streams")
    result = await run_bench(tmp_path, *only, "--plots", str(tmp_path / "plots"))
    rows = {row["name"]: row for row in result["workloads"]}
    found = peers.installed()
    there = {name for name in (*EVERY, *ROUTED) if name not in (*PEERS, CHP) or name in found}
    assert rows["get64"]["ways"].keys() == {"agent", "splice", *there}
    assert rows["get64"]["ways"]["agent"]["distribution_us"][-1][0] == 100
    drawn = {path.name: ElementTree.parse(path).getroot() for path in (tmp_path / "plots").iterdir()}
    assert drawn.keys() == {"latency-get64.svg", "streams.svg"}
    lines = drawn["latency-get64.svg"].findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(there - set(ROUTED)) + 2


@pytest.mark.parametrize("name", [workload.name for workload in workloads(Scale(tiny=True)) if ROUTER in workload.also])
async def test_a_router_is_measured_beside_two_splices(name: str, tmp_path: Path) -> None:
    only = ("--only", name, "--no-peers", "--without", "dials", "--without", "tunnel")
    result = await run_bench(tmp_path, *only, "--plots", str(tmp_path / "plots"))
    (row,) = result["workloads"]
    for way in ("router", "splice2"):
        assert math.isfinite(row["ways"][way]["cost"])
        for round_ in row["ways"][way]["rounds"]:
            assert len(round_["parts_ns"]) == 2
            assert sum(round_["parts_ns"]) == round_["cpu_ns"]
    if name == "events-one-core":
        assert any(promise["text"].startswith("router: event-stream") for promise in result["promises"])
    if name == "get64-varied":
        assert any(promise["text"].startswith("router: GET 12 B, 64") for promise in result["promises"])
        assert (tmp_path / "plots" / "router-get64-varied.svg").exists()
    assert left_files(tmp_path) == []


async def test_events_are_compared_with_the_direct_way_in_each_turn(tmp_path: Path) -> None:
    result = await run_bench(tmp_path, "--only", "events-one-core", "--rounds", "2", *UNROUTED)
    (row,) = result["workloads"]
    assert [round_["turn"] for round_ in row["ways"]["direct"]["rounds"]] == [0, 1]


async def test_another_tree_is_measured_beside_this_one(tmp_path: Path) -> None:
    here = str(Path(__file__).parents[2])
    result = await run_bench(tmp_path, "--only", "get1", "--base", here, *ALONE)
    assert result["workloads"][0]["ways"].keys() == {"agent", "splice", "base"}


def test_an_unknown_workload_is_an_error() -> None:
    with pytest.raises(ValueError, match="no workload is called 'nonsense'"):
        select(workloads(Scale(tiny=True)), ["nonsense"])


def test_a_pattern_chooses_in_the_order_of_the_table() -> None:
    chosen = select(workloads(Scale(tiny=True)), ["mixed*", "get1"])
    assert [workload.name for workload in chosen] == ["get1", "mixed1", "mixed4", "mixed16"]
