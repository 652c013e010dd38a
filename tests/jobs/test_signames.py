"""Signals by number and by name, there and back."""

from __future__ import annotations

import signal
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.jobs.signames import signal_name, signal_number

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs real-time signals")


@pytest.mark.parametrize(
    ("given_as", "number"),
    [
        ("TERM", signal.SIGTERM),
        ("SIGTERM", signal.SIGTERM),
        (15, signal.SIGTERM),
        pytest.param("RTMIN", signal.SIGRTMIN, marks=linux),
        pytest.param("SIGRTMIN", signal.SIGRTMIN, marks=linux),
        pytest.param("RTMIN+0", signal.SIGRTMIN, marks=linux),
        pytest.param("RTMIN+1", signal.SIGRTMIN + 1, marks=linux),
        pytest.param("SIGRTMIN+29", signal.SIGRTMIN + 29, marks=linux),
        pytest.param("SIGRTMIN+30", signal.SIGRTMAX, marks=linux),
        pytest.param("RTMAX-1", signal.SIGRTMAX - 1, marks=linux),
        pytest.param("RTMAX", signal.SIGRTMAX, marks=linux),
        pytest.param(35, 35, marks=linux),
        pytest.param("SIG35", 35, marks=linux),
        pytest.param(64, 64, marks=linux),
    ],
)
def test_numbers(given_as: object, number: int) -> None:
    assert signal_number(given_as) == number
    assert type(signal_number(given_as)) is int


@pytest.mark.parametrize(
    "given_as",
    [
        *("", "SIG", "NOPE", "term", "RTMIN+31", "RTMIN+99", "RTMIN-1", "RTMAX+1", "RTMAX-31", "RTMIN+", "RTMIN+x"),
        *("RTMIN+-1", "RTMIN+１", "SIGSIGTERM", "SIG0", "SIG999", 0, -1, -15, 32, 33, 65, 2**64),
    ],
)
def test_what_is_none(given_as: object) -> None:
    with pytest.raises(ValueError, match="is not known"):
        signal_number(given_as)


@pytest.mark.parametrize("given_as", [None, True, 15.0, b"TERM", ["TERM"]])
def test_wrong_types(given_as: object) -> None:
    with pytest.raises(TypeError, match="a name or a number"):
        signal_number(given_as)


@linux
def test_names() -> None:
    first, last = signal.SIGRTMIN, signal.SIGRTMAX
    numbers = [9, first, first + 1, last - 1, last, 200]
    names = ["SIGKILL", "SIGRTMIN", "SIGRTMIN+1", f"SIGRTMIN+{last - 1 - first}", "SIGRTMAX", "SIG200"]
    assert [signal_name(number) for number in numbers] == names


def test_there_and_back() -> None:
    for number in signal.valid_signals():
        assert signal_number(signal_name(number)) == number


@given(st.text(max_size=12) | st.integers())
def test_a_signal_or_an_error(given_as: object) -> None:
    try:
        number = signal_number(given_as)
    except ValueError:
        return
    assert number in signal.valid_signals()
