"""Complete jobs in a shell. Without an answer of the agent or router within `_LIMIT_S` there are none."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from pagent.cli.completing import is_safe, or_otherwise
from pagent.cli.target import Target, find_target
from pagent.log import escape

#: Seconds that the agent or the router may take.
_LIMIT_S: Final = 0.7


def job_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a job: by its name, or by its uid if it has no name, or if digits of it are typed."""
    return [CompletionItem(value, help=text) for value, text in _jobs(ctx, incomplete)]


def copy_places(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete an argument of ``cp``: a job, or a file of this machine."""
    if incomplete and not set(incomplete) & {"/", "."}:
        jobs = [CompletionItem(f"{value}:", help=text) for value, text in _jobs(ctx, incomplete)]
        if jobs:
            return jobs
    return [CompletionItem(incomplete, type="file")]


def _jobs(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Yield values for a job with a description of each."""
    from pagent.cli.naming import UID_DIGITS  # not at the top: each help text would import the client

    given = ctx.params
    file = given.get("token_file")
    target = or_otherwise(
        lambda: find_target(given.get("agent"), given.get("context"), None if file is None else Path(file)), None
    )
    infos = [] if target is None else _in_time(target)
    names = Counter(info["name"] for info in infos)
    for info in infos:
        uid, name, text = info["uid"], info["name"], f"{info['name']}, {info['state']}"
        if names[name] == 1 and is_safe(name) and name.startswith(incomplete):
            yield name, escape(f"{uid[:UID_DIGITS]}, {info['state']}")
        elif uid.startswith(incomplete):
            yield uid[: max(UID_DIGITS, len(incomplete))] if len(incomplete) <= UID_DIGITS else uid, escape(text)


def _in_time(target: Target) -> list[dict[str, Any]]:
    """Return the infos of the jobs; none if that takes too long, or fails."""
    import pagent.client  # noqa: F401 - before the time begins

    found: list[dict[str, Any]] = []
    asking = threading.Thread(target=_ask, args=(target, found), daemon=True)
    asking.start()
    asking.join(_LIMIT_S)
    return list(found)


def _ask(target: Target, found: list[dict[str, Any]]) -> None:
    or_otherwise(lambda: asyncio.run(_infos(target, found)), None)


async def _infos(target: Target, found: list[dict[str, Any]]) -> None:
    from pagent.client import connect_agent

    async with asyncio.timeout(_LIMIT_S), connect_agent(target.address, token=target.token, redial_s=0) as client:
        found += [job.first_info for job in await client.jobs() if isinstance(job.name, str)]
