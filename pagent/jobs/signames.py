"""Convert names and numbers of signals. Real-time signals have names here, which Python's ``signal.Signals`` lacks."""

from __future__ import annotations

import re
import signal
from typing import Final

#: First and last real-time signal; there are none where these are 0. Their numbers differ between C libraries.
_FIRST: Final[int] = getattr(signal, "SIGRTMIN", 0)
_LAST: Final[int] = getattr(signal, "SIGRTMAX", 0)

_REAL_TIME: Final = re.compile(r"SIGRT(MIN\+|MAX-)([0-9]{1,2})")
_NUMBER: Final = re.compile(r"SIG([0-9]{1,3})")


def signal_number(value: object) -> int:
    """Return the number of a signal given by its number or its name. TypeError or ValueError for any other value.

    Names: with or without ``SIG``; real-time signals are ``RTMIN``, ``RTMIN+n``, ``RTMAX-n`` and ``RTMAX``.
    """
    if isinstance(value, str):
        number = _named(value if value.startswith("SIG") else f"SIG{value}")
    elif type(value) is int:
        number = value
    else:
        raise TypeError(f"signal must be a name or a number, not {type(value).__name__}")
    if number not in signal.valid_signals():
        raise ValueError(f"signal {value!r:.40} is not known")
    return number


def signal_name(number: int) -> str:
    """Return the name of a signal, such as ``SIGKILL`` or ``SIGRTMIN+1``; ``SIG`` and its number if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - _FIRST}" if 0 < _FIRST < number < _LAST else f"SIG{number}"


def _named(name: str) -> int:
    """Return 0, which is no signal, for a name that is not known."""
    if name in signal.Signals.__members__:
        return signal.Signals[name].value
    if match := _NUMBER.fullmatch(name):
        return int(match[1])
    if match := _REAL_TIME.fullmatch(name):
        number = _FIRST + int(match[2]) if match[1] == "MIN+" else _LAST - int(match[2])
        return number if _FIRST <= number <= _LAST else 0
    return 0
