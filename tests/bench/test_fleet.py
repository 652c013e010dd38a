"""The bench of a router with many agents, in small."""

from __future__ import annotations

import sys

import pytest

from bench.fleet import Figures, measure_fleet


@pytest.mark.skipif(sys.platform != "linux", reason="the bench reads CPU times as Linux reports them")
@pytest.mark.slow
async def test_a_small_fleet_comes_to_figures() -> None:
    figures = await measure_fleet(agents=5, jobs=2, rest_s=0.1, gets_s=0.1)

    assert all(figure > 0 for figure in figures._replace(rest=1.0))
    assert figures.rest >= 0, "a tenth of a second at rest may take no CPU time at all"
    assert figures.memory > 10 << 20, "the memory of a Python process"


def test_the_report_names_each_figure_with_its_unit() -> None:
    lines = Figures(memory=100_000_000, rest=0.01, listing_s=0.02, alone_s=0.001, beside_s=0.002, back_s=3.0).lines()

    assert [line.split("  ")[-1].strip() for line in lines] == [
        "100 MB",
        "1.00 % of a core",
        "20.0 ms",
        "1.00 ms",
        "2.00 ms",
        "3.00 s",
    ]
