"""Find the job that an argument names: by its uid, the beginning of its uid, or its name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pagent.cli.failure import EXIT_NO_SUCH, CommandFailed
from pagent.cli.terminal.times import age
from pagent.client import AgentClient, RemoteJob
from pagent.errors import MethodError
from pagent.job_states import UNREACHABLE

#: Digits of a uid in tables.
UID_DIGITS: Final = 12

_UID: Final = re.compile(r"[0-9a-f]{32}")
#: A part of a uid has at least 4 digits.
_PREFIX: Final = re.compile(r"[0-9a-f]{4,31}")
#: How many of several matches an error lists.
_LISTED: Final = 8


async def find_job(client: AgentClient, text: str) -> RemoteJob:
    """Return the job that ``text`` names. CommandFailed if there is none, or if several have this name.

    JobRemovedError: it was removed.
    """
    if _UID.fullmatch(text):
        try:
            return await client.job(text)
        except MethodError as error:
            await _refuse_removed(client, text)
            if error.cause_type != "JobNotFoundError":
                raise
            raise not_found(text) from None
    infos = [job.first_info for job in await client.jobs()]
    if not matching(infos, text):
        await _refuse_removed(client, text)
    return RemoteJob(client.link, _only(infos, text))


class JobRemovedError(CommandFailed):
    """A job was removed recently. ``info``: the latest one that its agent remembers."""

    def __init__(self, name: str, info: dict[str, Any]) -> None:
        when = age(info["removed_at"])
        super().__init__(f"job {name!r} was removed {when} ago; pagent info prints how it has ended", EXIT_NO_SUCH)
        self.info = info


async def _refuse_removed(client: AgentClient, text: str) -> None:
    """Raise JobRemovedError if a job that ``text`` names was removed recently."""
    removed = [info for info in matching(await client.ended_jobs(), text) if info.get("removed_at")]
    if removed:
        raise JobRemovedError(text, removed[-1])


async def find_info(client: AgentClient, text: str) -> dict[str, Any]:
    """Return the info of a job, also of one that was removed recently. CommandFailed as for `find_job`."""
    live = {job.uid: job.first_info for job in await client.jobs()}
    ended = {info["uid"]: info for info in await client.ended_jobs()}
    found = _only((live | ended).values(), text)
    uid = found["uid"]
    if uid in ended or found["state"] == UNREACHABLE:
        return found
    return await (await client.job(uid)).info()


def not_found(text: str) -> CommandFailed:
    """Return the failure of a command whose job does not exist."""
    return CommandFailed(f"job {text!r} is not found; pagent ps -a lists all jobs", EXIT_NO_SUCH)


def matching(infos: Iterable[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return the infos whose uid is or begins with ``text``, or whose name is ``text``."""
    is_prefix = _PREFIX.fullmatch(text) or _UID.fullmatch(text)
    return [info for info in infos if info["name"] == text or (is_prefix and info["uid"].startswith(text))]


def _only(infos: Iterable[dict[str, Any]], text: str) -> dict[str, Any]:
    found = matching(infos, text)
    if not found:
        raise not_found(text)
    if len(found) > 1:
        raise CommandFailed(f"{text!r} names {len(found)} jobs: {_listed(found)}; use more of a uid")
    return found[0]


def _listed(infos: list[dict[str, Any]]) -> str:
    lines = [f"{info['uid']} ({info['name']}, {info['state']}, {age(info.get('created_at'))})" for info in infos]
    more = len(lines) - _LISTED
    return ", ".join(lines[:_LISTED]) + (f" and {more} more" if more > 0 else "")
