from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.cli.terminal.tables import fitted, hanging_lines, print_table
from pagent.cli.terminal.times import for_programs, span


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(1, 200))
def test_a_table_fits(widths: list[int], room: int) -> None:
    found = fitted(widths, room)
    assert sum(found) + 2 * (len(found) - 1) <= max(room, 1)
    assert all(new <= old for new, old in zip(found, widths, strict=False))


def test_the_widest_column_is_cut_first() -> None:
    assert fitted([12, 40, 8], 40) == [12, 16, 8]


def test_a_table_has_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [("1", "x\n"), ("漢字", "y")])
    assert capsys.readouterr().out == "A     B\n1     x\\n\n漢字  y\n"


def test_a_long_value_hangs_from_its_name() -> None:
    assert hanging_lines("sender: ", "a client of long standing", 20) == [
        "sender: a client of",
        "        long",
        "        standing",
    ]
    assert hanging_lines("sender: ", "a client", None) == ["sender: a client"]
    assert hanging_lines("sender: ", "0123456789abcdef", 18) == ["sender: 0123456789", "        abcdef"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")]
)
def test_a_length_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_values_for_programs() -> None:
    value = {"created_at": 0, "ended_at": None, "stderr": b"\xff", "ports": (1,)}
    found = {"created_at": "1970-01-01T00:00:00.000Z", "ended_at": None, "stderr": "\ufffd", "ports": [1]}
    assert for_programs(value) == found
