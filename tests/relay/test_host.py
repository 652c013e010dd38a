from __future__ import annotations

import math
from typing import Any

import pytest

from pagent.relay.host import HostReport, parse_report


def test_the_figures_of_a_host() -> None:
    given = {"cpus": 4, "load": 2.0, "memory_total": 8, "memory_available": 4, "disk_free": 2, "jobs": 3}
    more = {"version": "1.0", "started_at": 5.5, "cordoned": True, "deadline": None, "of a later release": 1}
    figures = parse_report({**given, **more})
    assert figures == HostReport(4, 2.0, 8, 4, 2, None, 3, None, "1.0", 5.5, cordoned=True)
    assert figures.load_per_cpu == 0.5


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        [],
        {},
        {"cpus": "4", "load": True, "jobs": 1.5, "version": 1, "cordoned": 1},
        {"load": math.nan, "disk_free": -math.inf, "deadline": math.inf},
    ],
)
def test_a_figure_of_another_type_is_not_given(value: Any) -> None:
    assert parse_report(value) == HostReport()


@pytest.mark.parametrize("value", [{"load": 5}, {"cpus": 0, "load": 5}, {"cpus": -1, "load": 5}, {"cpus": 4}])
def test_a_load_that_is_not_known_is_0(value: Any) -> None:
    assert parse_report(value).load_per_cpu == 0
