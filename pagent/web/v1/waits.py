"""Limit the waits for jobs that each token has open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pagent.errors import QuotaExceededError
from pagent.router_limits import API_WAITS_MAX
from pagent.rpc.directory import Subject

#: Seconds after which a client may ask again.
_RETRY_S: Final = 5


class WaitLimit:
    """Counts the waits of each subject. In an open router all clients are one subject."""

    def __init__(self, most: int = API_WAITS_MAX) -> None:
        self._most = most
        self._open: Counter[str | None] = Counter()

    @contextmanager
    def wait(self, subject: Subject) -> Iterator[None]:
        """Count a wait within the block. QuotaExceededError."""
        name = subject.name
        if self._open[name] >= self._most:
            raise QuotaExceededError(f"{self._most} waits are open: as many as one token may have", _RETRY_S)
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]
