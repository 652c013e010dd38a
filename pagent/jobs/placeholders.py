"""Replace ``{port}`` in command lines and variables by the port of the job.

``{port}`` is the job's main port and ``{port:NAME}`` a further one. Doubled braces are literal, as in Python's
``str.format``: ``{{port}}`` becomes ``{port}``. All other braces stay unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

#: The name of the main port.
MAIN: Final = ""

#: How each place begins.
OPENING: Final = "{port"

#: Valid names of further ports.
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")

_PLACE: Final = re.compile(rf"(\{{+)port(?::({NAME.pattern}))?(\}}+)")


def fill(text: str, ports: Mapping[str, int]) -> str:
    """Return ``text`` with the ports filled in; a name that is not in ``ports`` stays unchanged."""

    def place(found: re.Match[str]) -> str:
        name = found[2] or MAIN
        depth = min(len(found[1]), len(found[3]))
        if name not in ports:
            return found[0]
        # An odd number of braces is a place within literal braces, an even one literal throughout.
        literal = depth // 2
        inner = str(ports[name]) if depth % 2 else found[0].strip("{}")
        before, after = len(found[1]) - depth + literal, len(found[3]) - depth + literal
        return "{" * before + inner + "}" * after

    return _PLACE.sub(place, text) if "port" in text else text


def names(text: str) -> list[str]:
    """Return the names of the ports that ``text`` asks for, in their order; `MAIN` for ``{port}``."""
    places = _PLACE.finditer(text)
    return [found[2] or MAIN for found in places if min(len(found[1]), len(found[3])) % 2]
