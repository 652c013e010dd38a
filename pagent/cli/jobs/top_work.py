"""The work of ``pagent top``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

from pagent.cli.jobs.use_table import HEADS, ORDERS, UseTable
from pagent.cli.terminal.screen import Screen, has_screen
from pagent.cli.terminal.tables import print_json, print_table
from pagent.client import AgentClient
from pagent.errors import LinkClosedError

#: Between two tables on a screen.
_REFRESH_S: Final = 2.0
#: Between two messages with the figures that have changed.
_FIGURES_S: Final = 1.0
#: The longest time in which the use of CPU is measured for a table that is printed once.
_ONCE_S: Final = 10.0
_QUIT: Final = ("q", "Q")


async def print_use(client: AgentClient, names: Sequence[str], *, as_json: bool = False) -> int:
    """Print the figures of jobs once, as soon as the use of CPU is measured."""
    table = UseTable(names)
    async with _kept_current(client, table):
        with suppress(TimeoutError):
            async with asyncio.timeout(_ONCE_S):
                while not table.is_measured:
                    await _news(table)
    if as_json:
        print_json([use.for_programs() for use in table.uses()])
    else:
        print_table(HEADS, [use.row() for use in table.uses()])
    return 0


async def watch_use(client: AgentClient, names: Sequence[str]) -> int:
    """Draw the figures of jobs on the screen, until the key ``q``; without a screen print them once."""
    if not has_screen():
        return await print_use(client, names)
    table = UseTable(names)
    events: asyncio.Queue[str] = asyncio.Queue()
    async with _kept_current(client, table):
        with Screen(events) as screen:
            await _draw_until_quit(table, screen, events)
    return 0


async def _draw_until_quit(table: UseTable, screen: Screen, events: asyncio.Queue[str]) -> None:
    """Draw after each event, and at intervals. Return for the key that quits."""
    while True:
        await screen.draw(table.lines(screen.size.columns, screen.size.lines))
        key = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH_S):
                key = await events.get()
        if key in _QUIT:
            return
        if key.lower() in ORDERS:
            table.order = key.lower()


# --- messages -----------------------------------------------------------------------------------------


@asynccontextmanager
async def _kept_current(client: AgentClient, table: UseTable) -> AsyncIterator[None]:
    """Keep the table current while the block runs, which begins once all jobs are known.

    CallError, LinkError, or CommandFailed for a name that no job has; in a group.
    """
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(_receive(client, table))
        while not table.is_listed:
            await _news(table)
        table.check()
        yield
        receiving.cancel()


async def _news(table: UseTable) -> None:
    table.news.clear()
    await table.news.wait()


async def _receive(client: AgentClient, table: UseTable) -> None:
    """Receive changes. A link that is lost is replaced by the next one."""
    while True:
        table.begin()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_receive_jobs(client, table))
                group.create_task(_receive_figures(client, table))
        except* LinkClosedError:
            await client.host_info()  # waits for the next link


async def _receive_jobs(client: AgentClient, table: UseTable) -> None:
    async with aclosing(client.watch()) as messages:
        async for message in messages:
            table.take_jobs(message)


async def _receive_figures(client: AgentClient, table: UseTable) -> None:
    async with aclosing(client.figures(interval=_FIGURES_S)) as messages:
        async for message in messages:
            table.take_figures(message)
