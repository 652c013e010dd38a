"""The work of ``pagent top``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from pagent.cli.naming import ENDED, UID_DIGITS, matching, not_found
from pagent.cli.screen import Screen, has_screen
from pagent.cli.sizes import cell_of
from pagent.cli.tables import print_json, print_table, table_lines
from pagent.cli.times import age, span
from pagent.client import AgentClient, RemoteJob
from pagent.errors import CallError, LinkError, MethodNotFoundError
from pagent.runtime.tasks import TaskOwner

#: Between two lists of jobs on a screen, and between the two lists without one.
_REFRESH_S: Final = 2.0
_ONCE_S: Final = 1.0
_RUNNING: Final = ("PENDING", "RUNNING")
#: Calls under way at once.
_CALLS_MAX: Final = 32

_HEADS: Final = ("UID", "NAME", "CPU", "MEMORY", "STREAMS", "IDLE", "AGE", "STATE")
_QUIT: Final = ("q", "Q")


class JobUse:
    """What a job uses. ``cores``: CPU time per second since the info before; None if that is not known."""

    def __init__(self, info: dict[str, Any], before: JobUse | None, now: float) -> None:
        self.info = info
        self.read_at = now
        self.cores = None if before is None else _rate(before, info, now)

    @property
    def idle_s(self) -> float | None:
        """Return the time since the last use; 0 while a stream is open, None for a job that was never used."""
        if self.info.get("open_streams"):
            return 0.0
        last = [at for key in ("last_request_at", "last_input_at") if (at := self.info.get(key)) is not None]
        return max(0.0, time.time() - max(last)) if last else None

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        info, idle_s = self.info, self.idle_s
        return (
            info["uid"][:UID_DIGITS],
            info["name"],
            "-" if self.cores is None else f"{self.cores:.0%}",
            cell_of(info.get("rss_bytes")),
            str(info.get("open_streams", "-")),
            "-" if idle_s is None else span(idle_s),
            age(info.get("created_at")),
            info["state"],
        )

    def for_programs(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        info = self.info
        return {
            **{key: info.get(key) for key in ("uid", "name", "state", "created_at", "open_streams")},
            "cpu_cores": None if self.cores is None else round(self.cores, 3),
            "memory_bytes": info.get("rss_bytes"),
            "idle_seconds": None if self.idle_s is None else round(self.idle_s, 1),
        }


def _rate(before: JobUse, info: dict[str, Any], now: float) -> float | None:
    used, used_before = info.get("cpu_seconds"), before.info.get("cpu_seconds")
    if used is None or used_before is None or now <= before.read_at:
        return None
    return max(0.0, float(used - used_before)) / (now - before.read_at)


#: Keys, each with the name of its order and the figure that comes first when it is large.
_ORDERS: Final[dict[str, tuple[str, Callable[[JobUse], float]]]] = {
    "c": ("CPU", lambda use: use.cores or 0.0),
    "m": ("memory", lambda use: use.info.get("rss_bytes") or 0),
    "s": ("streams", lambda use: use.info.get("open_streams") or 0),
    "a": ("age", lambda use: -(use.info.get("created_at") or 0)),
}


class UseTable:
    """What the chosen jobs use, or all that have not ended if ``names`` is empty."""

    def __init__(self, client: AgentClient, names: Sequence[str]) -> None:
        # For life.
        self._client = client
        self._names = names
        self._is_router: bool | None = None
        # Of the last list.
        self._uses: dict[str, JobUse] = {}
        self._is_listed = False
        #: Key of the order.
        self.order = "c"

    async def refresh(self) -> None:
        """Ask for the jobs again. CallError, LinkError; CommandFailed for a name that no job has at first."""
        infos = await self._infos()
        now = time.monotonic()
        self._uses = {info["uid"]: JobUse(info, self._uses.get(info["uid"]), now) for info in self._chosen(infos)}
        self._is_listed = True

    async def _infos(self) -> list[dict[str, Any]]:
        jobs = await self._client.jobs()
        if self._is_router is None:
            self._is_router = await _lists_agents(self._client)
        if not self._is_router:
            return [job.first_info for job in jobs]
        # The list of a router has the figures of each job's last change (docs/router.rst, "Calls of clients").
        places = asyncio.Semaphore(_CALLS_MAX)
        return await asyncio.gather(*[_fresh(job, places) for job in jobs])

    def _chosen(self, infos: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        if not self._names:
            return [info for info in infos if info["state"] not in ENDED]
        found = [matching(infos, name) for name in self._names]
        for name, jobs in zip(self._names, found, strict=True):
            if not jobs and not self._is_listed:
                raise not_found(name)
        return [info for jobs in found for info in jobs]

    def uses(self) -> list[JobUse]:
        """Return what the jobs use, in the chosen order."""
        _, figure = _ORDERS[self.order]
        return sorted(self._uses.values(), key=lambda use: (-figure(use), use.info["uid"]))

    def lines(self, width: int, height: int) -> list[str]:
        """Return a head and the first jobs, for a screen of this size."""
        uses = self.uses()
        room = max(height - 2, 1)
        left = f", {room} of them here" if len(uses) > room else ""
        name, _ = _ORDERS[self.order]
        head = f"{len(uses)} jobs{left}, by {name}; keys: c m s a, q quits"
        rows = [use.row() for use in uses[:room]]
        return [head[:width], *table_lines(_HEADS, rows, width)]


async def _lists_agents(client: AgentClient) -> bool:
    try:
        await client.agents()
    except MethodNotFoundError:
        return False
    except CallError:
        return True  # it knows the method, and does not allow it
    return True


async def _fresh(job: RemoteJob, places: asyncio.Semaphore) -> dict[str, Any]:
    """Return the info of a job now; that of the list if its agent is away, or the job was removed meanwhile."""
    if job.first_info["state"] not in _RUNNING:
        return job.first_info
    async with places:
        try:
            return await job.info()
        except CallError:
            return job.first_info


async def print_use(client: AgentClient, names: Sequence[str], *, as_json: bool = False) -> int:
    """Print what jobs use once, measured over a second."""
    table = UseTable(client, names)
    await table.refresh()
    await asyncio.sleep(_ONCE_S)
    await table.refresh()
    if as_json:
        print_json([use.for_programs() for use in table.uses()])
    else:
        print_table(_HEADS, [use.row() for use in table.uses()])
    return 0


async def watch_use(client: AgentClient, names: Sequence[str]) -> int:
    """Draw what jobs use on the screen, until the key ``q``; without a screen print it once."""
    if not has_screen():
        return await print_use(client, names)
    table = UseTable(client, names)
    await table.refresh()
    events: asyncio.Queue[str] = asyncio.Queue()
    tasks = TaskOwner("top")
    try:
        with Screen(events) as screen:
            refreshing = tasks.start(_keep_fresh(table, events), name="refresh")
            await _draw_until_quit(table, screen, events, refreshing)
    finally:
        await tasks.close()
    if refreshing.done() and not refreshing.cancelled():
        refreshing.result()
    return 0


async def _draw_until_quit(
    table: UseTable, screen: Screen, events: asyncio.Queue[str], refreshing: asyncio.Task[None]
) -> None:
    """Draw after each event. Return for the key that quits, or when the refreshing has failed."""
    while not refreshing.done():
        await screen.draw(table.lines(screen.size.columns, screen.size.lines))
        key = await events.get()
        if key in _QUIT:
            return
        if key.lower() in _ORDERS:
            table.order = key.lower()


async def _keep_fresh(table: UseTable, events: asyncio.Queue[str]) -> None:
    try:
        while True:
            await asyncio.sleep(_REFRESH_S)
            await table.refresh()
            events.put_nowait("")
    except (CallError, LinkError):
        events.put_nowait("")  # the caller looks at this task
        raise
