"""Numbers of bytes, for people."""

from __future__ import annotations

import pytest

from pagent.cli.terminal.sizes import cell_of, size_of, use_of
from pagent.limits import GIB, KIB, MIB


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (KIB, "1.0KiB"), (3 * MIB // 2, "1.5MiB"), (5 << 40, "5120.0GiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size_of(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "-"), (0, "0K"), (3 * KIB, "3K"), (12 * MIB, "12M"), (3 * GIB // 2, "1.5G")]
)
def test_cells(count: int | None, text: str) -> None:
    assert cell_of(count) == text


def test_use() -> None:
    assert use_of(4 * GIB, 16 * GIB) == "12.0/16.0G"
    assert use_of(None, 16 * GIB) == use_of(4 * GIB, None) == "-"
