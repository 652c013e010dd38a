"""Remove the control sequences of terminals from output that comes in pieces (ECMA-48)."""

from __future__ import annotations

import re
from typing import Final

#: Of an operating system command: a longer one is not kept.
_SEQUENCE_MAX: Final = 4096

#: A whole sequence: CSI, OSC and the other strings with their end, and two or three characters after ESC.
_SEQUENCE: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]"
    rb"|\](?P<osc>[^\x07\x1b]*)(?:\x07|\x1b\\)"
    rb"|[PX^_][^\x1b]*\x1b\\"
    rb"|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])"
)
#: The colours and other attributes of characters, which do not end a word.
_ATTRIBUTES: Final = re.compile(rb"\x1b\[[0-9;:]*m")
#: A hyperlink (OSC 8): parameters, then its address.
_LINK: Final = re.compile(rb"8;[^;]*;(.*)", re.DOTALL)


class PlainText:
    """Turns pieces of output into text without control sequences.

    An attribute is removed, so that a word with colours in it stays whole. Any other sequence becomes a space. The
    address of a hyperlink becomes a word.
    """

    def __init__(self) -> None:
        self._rest = b""  # the beginning of a sequence

    def feed(self, data: bytes) -> bytes:
        """Return the text of a piece; the beginning of a sequence is kept for the next one."""
        data = self._rest + data
        if b"\x1b" not in data:
            self._rest = b""
            return data
        text = _SEQUENCE.sub(_replacement, data)
        start = text.find(b"\x1b")
        if start < 0:
            self._rest = b""
            return text
        self._rest = text[start:] if len(text) - start <= _SEQUENCE_MAX else b""
        return text[:start]


def _replacement(found: re.Match[bytes]) -> bytes:
    if _ATTRIBUTES.fullmatch(found[0]):
        return b""
    if found["osc"] is not None and (link := _LINK.fullmatch(found["osc"])):
        return b" " + link[1] + b" "
    return b" "
