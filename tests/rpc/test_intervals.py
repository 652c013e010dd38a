"""The argument ``interval`` as callers may give it."""

from __future__ import annotations

from typing import Any

import pytest

from pagent.limits import RUN_TIMEOUT_MAX_S
from pagent.rpc.intervals import checked_interval


@pytest.mark.parametrize("value", [0.5, 2, RUN_TIMEOUT_MAX_S])
def test_intervals(value: float) -> None:
    assert checked_interval(value, 0.5) == value


@pytest.mark.parametrize("value", [0.4, -1, float("nan"), float("inf"), 2 * RUN_TIMEOUT_MAX_S, "1", None, True, [1]])
def test_what_is_no_interval(value: Any) -> None:
    with pytest.raises(ValueError, match=r"interval must be a number of seconds from 0\.5 to"):
        checked_interval(value, 0.5)
