"""Bound the log lines of one kind."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from pagent.limits import LOG_BURST, LOG_KINDS, LOG_REPEAT_S


class RepeatLimit:
    """Bounds the lines of one kind: `LOG_BURST` at once, then one each `LOG_REPEAT_S`; the others are counted.

    The kind of a record is its logger, level and format string, which are constants of the program. What a peer sent is
    in the arguments, and makes no new kind. A text without arguments may be made at run time, so all such records of a
    logger and level are one kind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: OrderedDict[tuple[str, int, str], _Kind] = OrderedDict()

    def admit(self, record: logging.LogRecord) -> int | None:
        """Return how many lines of this kind were left out since the last; None if this one is left out, too."""
        key = (record.name, record.levelno, record.msg if record.args and isinstance(record.msg, str) else "")
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(self._clock())
            if len(self._kinds) > LOG_KINDS:
                self._kinds.popitem(last=False)
        self._kinds.move_to_end(key)
        if not kind.take(self._clock()):
            kind.held += 1
            return None
        held, kind.held = kind.held, 0
        return held

    @property
    def holds(self) -> bool:
        """Whether lines were left out that no summary has reported yet."""
        return any(kind.held for kind in self._kinds.values())

    def summaries(self, *, final: bool = False) -> list[str]:
        """Return a line for each kind that may log again and left lines out; with ``final`` for each that did."""
        now = self._clock()
        lines = []
        for (name, _, text), kind in self._kinds.items():
            if kind.held and (final or kind.take(now)):
                lines.append(f"log: {kind.held} more lines of {name} were left out: {text or 'like those before'}")
                kind.held = 0
        return lines


class _Kind:
    """A token bucket, and the number of lines that were left out."""

    def __init__(self, now: float) -> None:
        self.held = 0
        self._tokens = float(LOG_BURST)
        self._at = now

    def take(self, now: float) -> bool:
        self._tokens = min(LOG_BURST, self._tokens + (now - self._at) / LOG_REPEAT_S)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
