from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.cli.terminal.screen_modes import ScreenModes

#: What vim writes at its start.
VIM = b"\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\x1b[?2004h\x1b[?25l\x1b[1;24r\x1b[?1006;1000h"
RESTORED = b"\x1b[?1l\x1b[?25h\x1b[?1000l\x1b[?1006l\x1b[?1049l\x1b[?2004l\x1b>\x1b[m"


def test_modes_are_changed_back() -> None:
    for cut in range(len(VIM) + 1):
        modes = ScreenModes()
        modes.feed(VIM[:cut])
        modes.feed(VIM[cut:])
        assert modes.restoring() == RESTORED
        assert modes.is_alternate


@pytest.mark.parametrize("end", [b"\x1b[?1006;1000l\x1b[?25h\x1b[?2004l\x1b>\x1b[?1l\x1b[?1049l", b"\x1bc", b"\x1b[!p"])
def test_a_program_that_has_tidied_up_leaves_nothing(end: bytes) -> None:
    modes = ScreenModes()
    modes.feed(VIM)
    modes.feed(end)
    assert (modes.restoring(), modes.is_alternate) == (b"", False)


def test_plain_output_changes_nothing() -> None:
    modes = ScreenModes()
    modes.feed(b"text \x1b[31mred\x1b[m \x1b[?12345h \x1b[?;h")
    assert modes.restoring() == b""


@given(st.lists(st.binary(max_size=20)))
def test_any_output_is_taken(pieces: list[bytes]) -> None:
    modes = ScreenModes()
    for piece in pieces:
        modes.feed(piece)
        modes.feed(b"\x1b[?" + piece)
    modes.restoring()
