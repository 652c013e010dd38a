from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.jobs.placeholders import MAIN, fill, names

PORTS = {MAIN: 80, "db": 5432}


@pytest.mark.parametrize(
    ("text", "filled", "asked"),
    [
        ("", "", []),
        ("port", "port", []),
        ("{port}", "80", [MAIN]),
        ("a{port}b{port}", "a80b80", [MAIN, MAIN]),
        ("{port:db}/{port}", "5432/80", ["db", MAIN]),
        ("{port:other}", "{port:other}", ["other"]),
        ("{{port}}", "{port}", []),
        ("{{port:db}}", "{port:db}", []),
        ("{{{port}}}", "{80}", [MAIN]),
        ("{{{{port}}}}", "{{port}}", []),
        ('{"port":{port}}', '{"port":80}', [MAIN]),
        ("{{port}: 1}", "{80: 1}", [MAIN]),
        ("{{.Ports}} {{x}} {} {{}}", "{{.Ports}} {{x}} {} {{}}", []),
        ("{port:}", "{port:}", []),
        ("{port: db}", "{port: db}", []),
        ("{Port} {ports} { port }", "{Port} {ports} { port }", []),
        ("${port}", "$80", [MAIN]),
    ],
)
def test_places(text: str, filled: str, asked: list[str]) -> None:
    assert fill(text, PORTS) == filled
    assert names(text) == asked


def test_without_ports_nothing_is_touched() -> None:
    assert fill("{port} {{port}} {port:db}", {}) == "{port} {{port}} {port:db}"


@given(st.integers(1, 6), st.integers(1, 6))
def test_braces_are_as_in_str_format(before: int, after: int) -> None:
    text = "{" * before + "port" + "}" * after
    if before == after:
        assert fill(text, PORTS) == text.format(port=80)
    else:  # a surplus stays on its side
        depth = min(before, after)
        inner = ("{" * depth + "port" + "}" * depth).format(port=80)
        assert fill(text, PORTS) == "{" * (before - depth) + inner + "}" * (after - depth)


@given(st.text("{}port:db ", max_size=30))
def test_text_without_a_place_stays_as_it_is(text: str) -> None:
    if "{port" not in text:
        assert fill(text, PORTS) == text
        assert names(text) == []
