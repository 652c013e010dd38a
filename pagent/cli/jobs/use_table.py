"""The table of ``pagent top``: figures of jobs, from the messages of ``agent_watch`` and ``job_figures``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pagent.cli.naming import UID_DIGITS, matching, not_found
from pagent.cli.terminal.sizes import cell_of
from pagent.cli.terminal.tables import table_lines
from pagent.cli.terminal.times import age, span
from pagent.job_states import ENDED, PENDING, RUNNING

_RUNNING: Final = (PENDING, RUNNING)

HEADS: Final = ("UID", "NAME", "CPU", "MEMORY", "STREAMS", "IDLE", "IN", "OUT", "AGE", "STATE")


class UseFigures(NamedTuple):
    """The figures of a job as ``job_figures`` sends them, received at ``at``. None: not known."""

    at: float
    cpu: float | None
    memory: int | None
    streams: int | None
    received: int | None
    sent: int | None
    idle_s: float | None


_UNKNOWN: Final = UseFigures(0.0, None, None, None, None, None, None)


class JobUse:
    """The figures of a job."""

    def __init__(self, info: Mapping[str, Any], figures: UseFigures) -> None:
        self.info = info
        self.figures = figures

    @property
    def idle_s(self) -> float | None:
        """Return the seconds without use; 0 while a stream is open."""
        figures = self.figures
        if figures.streams or figures.idle_s is None:
            return 0.0 if figures.streams else None
        return figures.idle_s + max(0.0, time.monotonic() - figures.at)

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        info, figures, idle_s = self.info, self.figures, self.idle_s
        return (
            info["uid"][:UID_DIGITS],
            info["name"],
            "-" if figures.cpu is None else f"{figures.cpu:.0%}",
            cell_of(figures.memory),
            "-" if figures.streams is None else str(figures.streams),
            "-" if idle_s is None else span(idle_s),
            cell_of(figures.received),
            cell_of(figures.sent),
            age(info.get("created_at")),
            info["state"],
        )

    def for_programs(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        info, figures = self.info, self.figures
        return {
            **{key: info.get(key) for key in ("uid", "name", "state", "created_at")},
            "open_streams": figures.streams,
            "cpu_cores": figures.cpu,
            "memory_bytes": figures.memory,
            "received_bytes": figures.received,
            "sent_bytes": figures.sent,
            "idle_seconds": None if self.idle_s is None else round(self.idle_s, 1),
        }


#: Keys, each with the name of its order and the figure that comes first when it is large.
ORDERS: Final[dict[str, tuple[str, Callable[[JobUse], float]]]] = {
    "c": ("CPU", lambda use: use.figures.cpu or 0.0),
    "m": ("memory", lambda use: use.figures.memory or 0),
    "s": ("streams", lambda use: use.figures.streams or 0),
    "a": ("age", lambda use: -(use.info.get("created_at") or 0)),
}


class UseTable:
    """The figures of the chosen jobs, or of all that have not ended if ``names`` is empty."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        # For life.
        self._names = names
        #: Set by each message.
        self.news = asyncio.Event()
        # From one message to the next.
        self._infos: dict[str, dict[str, Any]] = {}
        self._figures: dict[str, UseFigures] = {}
        self._pages: dict[str, dict[str, Any]] = {}  # of a watch that has not sent all jobs yet
        #: Whether all jobs are known.
        self.is_listed = False
        #: Key of the order.
        self.order = "c"

    # --- messages ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take the messages of a new link: all jobs come again."""
        self._pages.clear()

    def take_jobs(self, message: Mapping[str, Any]) -> None:
        """Take a message of ``agent_watch``."""
        match message:
            case {"jobs": pages}:
                self._pages.update({info["uid"]: info for info in pages})
            case {"ready": _}:
                self._infos, self._pages, self.is_listed = self._pages, {}, True
            case {"job": info}:
                self._infos[info["uid"]] = info
            case {"removed": uid}:
                self._infos.pop(uid, None)
                self._figures.pop(uid, None)
        self.news.set()

    def take_figures(self, message: Mapping[str, Sequence[Any]]) -> None:
        """Take a message of ``job_figures``."""
        now = time.monotonic()
        self._figures.update({uid: UseFigures(now, *values) for uid, values in message.items()})
        self.news.set()

    # --- output -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise CommandFailed for a name that no job has."""
        for name in self._names:
            if not matching(self._infos.values(), name):
                raise not_found(name)

    @property
    def is_measured(self) -> bool:
        """Whether the use of CPU is known of all running jobs that have figures."""
        running = [use for use in self._uses() if use.info["state"] in _RUNNING]
        known = [use for use in running if use.figures is not _UNKNOWN]
        return self.is_listed and (not running or bool(known)) and all(use.figures.cpu is not None for use in known)

    def _uses(self) -> list[JobUse]:
        return [JobUse(info, self._figures.get(info["uid"], _UNKNOWN)) for info in self._chosen()]

    def _chosen(self) -> Iterable[dict[str, Any]]:
        infos = self._infos.values()
        if not self._names:
            return [info for info in infos if info["state"] not in ENDED]
        return {info["uid"]: info for name in self._names for info in matching(infos, name)}.values()

    def uses(self) -> list[JobUse]:
        """Return the figures of the jobs, in the chosen order."""
        _, figure = ORDERS[self.order]
        return sorted(self._uses(), key=lambda use: (-figure(use), use.info["uid"]))

    def lines(self, width: int, height: int) -> list[str]:
        """Return a head and the first jobs, for a screen of this size."""
        uses = self.uses()
        room = max(height - 2, 1)
        left = f", {room} of them here" if len(uses) > room else ""
        name, _ = ORDERS[self.order]
        head = f"{len(uses)} jobs{left}, by {name}; keys: c m s a, q quits"
        return [head[:width], *table_lines(HEADS, [use.row() for use in uses[:room]], width)]
