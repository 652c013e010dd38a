"""Pseudo-terminals: their initial state, and the end of their input."""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Iterator

import pytest

from pagent.jobs import terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    ours, theirs = terminal.open_terminal(33, 111)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def change(descriptor: int, flags: dict[int, tuple[int, int]], **characters: bytes) -> None:
    attributes = termios.tcgetattr(descriptor)
    for index, (added, removed) in flags.items():
        attributes[index] = (attributes[index] | added) & ~removed
    for name, character in characters.items():
        attributes[6][getattr(termios, name)] = character
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def test_its_size_and_that_its_text_is_utf_8(pair: tuple[int, int]) -> None:
    ours, theirs = pair
    assert os.get_terminal_size(theirs) == (111, 33)
    assert termios.tcgetattr(theirs)[0] & 0x4000
    assert not os.get_blocking(ours)
    terminal.set_size(ours, 65_535, 1)
    assert os.get_terminal_size(theirs) == (1, 65_535)


@pytest.mark.parametrize(("last", "typed"), [(None, b"\4"), (0x0A, b"\4"), (0x0D, b"\4"), (4, b"\4"), (97, b"\4\4")])
def test_the_end_in_canonical_mode(pair: tuple[int, int], last: int | None, typed: bytes) -> None:
    assert terminal.end_of_input(pair[0], last) == typed


def test_the_end_with_other_characters(pair: tuple[int, int]) -> None:
    ours, theirs = pair
    change(theirs, {}, VEOF=b"e", VEOL=b"l", VEOL2=b"m")
    assert [terminal.end_of_input(ours, last) for last in b"elm\4"] == [b"e", b"e", b"e", b"ee"]
    change(theirs, {0: (termios.INLCR | termios.IGNCR, 0)})
    assert [terminal.end_of_input(ours, last) for last in b"\n\r"] == [b"ee", b"ee"]
    change(theirs, {}, VEOF=b"\0")
    assert terminal.end_of_input(ours, 97) == b""
    assert terminal.end_of_input(ours, 0) == b""


def test_the_end_without_canonical_mode(pair: tuple[int, int]) -> None:
    ours, theirs = pair
    change(theirs, {3: (0, termios.ICANON)}, VEOF=b"e")
    assert terminal.end_of_input(ours, 97) == b"\4"


def test_no_descriptor_is_left_of_one_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(Exception, match="format requires"):
        terminal.open_terminal(-1, 70_000)
    assert len(os.listdir("/dev/fd")) == before
