"""The modes of a terminal that a program has changed, so that they can be changed back if the program cannot do it."""

from __future__ import annotations

import re
from typing import Final

#: DECSET and DECRST, keypad modes, and the full reset (xterm, "ctlseqs").
_CHANGE: Final = re.compile(rb"\x1b(?:\[\?([0-9;]+)([hl])|([=>c])|\[!p)")
#: The longest beginning of a sequence that is kept for the next piece.
_REST_MAX: Final = 64

#: Modes that are on at the beginning: wrapped lines and the cursor.
_ON: Final = frozenset((7, 25))
_ALTERNATE: Final = frozenset((47, 1047, 1049))
#: Modes that are changed back: cursor keys, reverse video, the mouse, the focus, the paste, and those above.
_KNOWN: Final = (
    _ON | _ALTERNATE | frozenset((1, 5, 9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2026))
)


class ScreenModes:
    """Follows the output of a program on a terminal."""

    def __init__(self) -> None:
        self._changed: set[int] = set()
        self._keypad = False
        self._rest = b""

    @property
    def is_alternate(self) -> bool:
        """Whether the program uses the alternate screen, as full-screen programs do."""
        return not self._changed.isdisjoint(_ALTERNATE)

    def feed(self, data: bytes) -> None:
        """Take a piece of output."""
        data = self._rest + data
        end = 0
        for found in _CHANGE.finditer(data):
            end = found.end()
            self._apply(found)
        start = data.rfind(b"\x1b", max(end, len(data) - _REST_MAX))
        self._rest = data[start:] if start >= 0 else b""

    def _apply(self, found: re.Match[bytes]) -> None:
        if found[3] in (b"=", b">"):
            self._keypad = found[3] == b"="
        elif found[1] is None:
            self._changed.clear()
            self._keypad = False
        else:
            for number in {int(text) for text in found[1].split(b";") if text} & _KNOWN:
                if (found[2] == b"h") is (number in _ON):
                    self._changed.discard(number)
                else:
                    self._changed.add(number)

    def restoring(self) -> bytes:
        """Return the sequences that change all modes back, with the colours; empty if there is nothing to change."""
        if not self._changed and not self._keypad:
            return b""
        changes = [b"\x1b[?%d%b" % (number, b"h" if number in _ON else b"l") for number in sorted(self._changed)]
        return b"".join((*changes, b"\x1b>" if self._keypad else b"", b"\x1b[m"))
