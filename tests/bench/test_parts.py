"""Smaller parts of the bench: plots, micro benchmarks, promises, the relay, the worktree of a comparison."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import micro, oneshot, plots, promises, report, svg
from bench.catalogue import select, workloads
from bench.compare import checked_out
from bench.measure import Result, Round, Series, percentiles, ratios
from bench.process import Placing, layout
from bench.workload import Scale
from tests.kit.peer import PATIENCE_S

ROOT = Path(__file__).parents[2]


def row(name: str, cost: float) -> dict[str, object]:
    distribution = [[0.0, 10.0], [50.0, 20.0], [99.0, 300.0], [100.0, 4000.0]]
    way = {"cost": cost, "distribution_us": distribution}
    return {"name": name, "title": f"{name} <&>", "ways": {"agent": way, "splice": way}}


def test_plots_are_valid_xml_with_a_line_for_each_way(tmp_path: Path) -> None:
    rows = [row("get1", 20), row("streams-1", 30), row("streams-10", 12), row("streams-100", 9)]
    drawn = plots.draw({"workloads": rows}, tmp_path / "plots")
    assert [path.name for path in drawn] == ["latency-get1.svg", "streams.svg"]
    for path in drawn:
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2


def test_points_stay_inside_the_chart() -> None:
    across = svg.log_axis("n", [1, 10_000])
    up = svg.linear_axis("us", [3.0, 17.0])
    assert [across.place(1), across.place(10_000)] == [0, 1]
    assert up.low == 0
    assert up.high > 17
    document = svg.chart("t", across, up, [svg.Line("a", [(1, 3.0), (10_000, 17.0)])])
    (line,) = ElementTree.fromstring(document).findall("{http://www.w3.org/2000/svg}polyline")
    places = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert all(0 < x < 720 and 0 < y < 420 for x, y in places)
    assert places[0][1] > places[1][1]  # more is higher


def test_nothing_to_draw_makes_no_folder(tmp_path: Path) -> None:
    assert plots.draw({"workloads": [row("down", 1)]}, tmp_path / "plots") == []
    assert not (tmp_path / "plots").exists()


@pytest.mark.parametrize("name", list(micro.parts()))
def test_a_part_takes_time(name: str) -> None:
    assert min(micro.timed_ns(micro.parts()[name], 0.001)) > 0


@pytest.mark.parametrize(
    ("cores", "own_core", "ends_on_two_cores"),
    [({5}, (5, 5, 5), (5, 5, 5)), ({5, 3}, (3, 5, 5), (3, 5, 3)), ({0, 1, 2, 3}, (0, 1, 2), (0, 1, 2))],
)
def test_which_processes_run_where(
    cores: set[int], own_core: tuple[int, ...], ends_on_two_cores: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the measured process, the generator, the job."""
    monkeypatch.setattr("bench.process._CORES", cores)
    assert layout(Placing.OWN_CORE) == own_core
    assert layout(Placing.ENDS_ON_TWO_CORES) == ends_on_two_cores
    assert layout(Placing.ONE_CORE) == (min(cores),) * 3


def test_percentiles_are_values_that_were_there() -> None:
    values = list(range(1, 1001))
    assert percentiles(values, (0.0, 50.0, 99.0, 99.9, 100.0)) == [1, 501, 991, 1000, 1000]
    assert percentiles([], (50.0,)) == []


def test_ratios_are_of_the_same_turn() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    assert ratios([2.0], [0.0]) == [float("inf")]


def test_the_interval_of_a_median_is_made_of_ranks() -> None:
    assert report.median_interval([float(value) for value in range(21)]) == (6.0, 14.0)
    assert report.median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert report.median_interval([5.0]) == (5.0, 5.0)


def test_a_promise_has_a_side_to_be_kept_on() -> None:
    most = promises.Promise("cost", 1.5, lambda results: 0.0)
    least = promises.Promise("throughput", 0.85, lambda results: 0.0, at_least=True)
    assert most.kept(1.5)
    assert not most.kept(1.6)
    assert least.kept(0.9)
    assert not least.kept(0.8)
    assert promises.judged([]) == []
    assert promises.promises([]) == ""


def events(**costs: list[float]) -> Result:
    """Return a result of the row of the router's events: the p50 of each round by way."""
    (workload,) = select(workloads(Scale(tiny=True)), ["events-one-core"])
    series = {
        name: Series([Round(turn, 1, 1.0, 0, 0, 0, cost) for turn, cost in enumerate(of_way)])
        for name, of_way in costs.items()
    }
    return Result(workload, series, "splice")


def test_latency_is_compared_with_that_of_the_same_turn() -> None:
    """A turn in which the machine is slow is slow for both."""
    result = events(router=[100.0, 900.0, 110.0], direct=[50.0, 860.0, 50.0, 50.0])
    assert result.differences("router", "direct") == [50.0, 40.0, 60.0]


@pytest.mark.parametrize(("router", "kept"), [(149.0, True), (151.0, False)])
def test_the_latency_of_an_event_is_promised_relative_to_two_splices(router: float, kept: bool) -> None:
    """A machine on which two splices add 30 us lets a router and an agent add 3.3 times that."""
    judged = promises.judged([events(router=[router] * 3, splice2=[80.0] * 3, direct=[50.0] * 3)])
    (one,) = [one for one in judged if one["text"].startswith("router: event-stream latency")]
    assert one["kept"] is kept
    assert one["value"] == pytest.approx((router - 50) / 30)
    assert one["detail"] == f"{report.number(router - 50)} us to 30.0"
    assert f"({one['detail']})" in promises.promises([one])


def test_the_latency_of_an_event_is_judged_where_two_splices_add_none() -> None:
    judged = promises.judged([events(router=[60.0], splice2=[49.0], direct=[50.0])])
    (one,) = [one for one in judged if one["text"].startswith("router: event-stream latency")]
    assert one["value"] == float("inf")
    assert not one["kept"]


def test_the_latency_of_an_event_is_not_judged_without_the_direct_way() -> None:
    judged = promises.judged([events(router=[60.0], splice2=[49.0])])
    assert not [one for one in judged if one["text"].startswith("router: event-stream latency")]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is not a git repository")
def test_a_commit_is_checked_out_and_removed() -> None:
    with checked_out("HEAD", compiled=False) as tree:
        assert (tree / "pagent" / "__init__.py").is_file()
    assert not tree.exists()
    with pytest.raises(subprocess.CalledProcessError), checked_out("no-such-commit", compiled=False):
        pass


async def test_the_relay_delivers_all_in_order() -> None:
    sent = os.urandom(300_000)
    received = bytearray()
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()
        over.set_result(None)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.relay", str(port), "0.01", "50000000", stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert process.stdout is not None
            near = int(await process.stdout.readline())
            reader, writer = await asyncio.open_connection("127.0.0.1", near)
            writer.write(sent)
            while len(received) < len(sent):
                received += await reader.read(65536)
            writer.close()
            await writer.wait_closed()
            await over
    finally:
        process.kill()
        await process.communicate()
        server.close()
        await server.wait_closed()
    assert bytes(received) == sent


async def test_the_smallest_server_answers_without_an_agent() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", oneshot.__file__, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = await reader.read()
            writer.close()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(answer.partition(b"\r\n\r\n")[2]) == oneshot.BODY_BYTES
