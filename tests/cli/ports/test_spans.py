from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.cli.ports.spans import SpanParam


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("2h30m", 9_000.0), ("1.5s", 1.5)])
def test_a_span(text: str, seconds: float) -> None:
    assert SpanParam("1d").convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0s", "0m", "-5s", "5", "5 s", "s", "1d1ms", "5x", "1e3s", "infs", "nans"])
def test_what_is_no_span_of_at_most_a_day(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SpanParam("1d").convert(text, None, None)


@given(st.text(alphabet="0123456789.smhdw "))
def test_any_text_is_a_span_or_refused(text: str) -> None:
    try:
        seconds = SpanParam("1d").convert(text, None, None)
    except click.BadParameter:
        return
    assert 0 < seconds <= 86_400
