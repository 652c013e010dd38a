"""Ask agents about their jobs, and for new ones.

An agent that does not say in time whether it has a job counts as one without it.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from pagent.errors import CALL_ERRORS, MethodError, MethodNotFoundError
from pagent.relay.agent import ConnectedAgent
from pagent.router_limits import JOB_PAGES_MAX

_log = logging.getLogger(__name__)

#: Seconds that an agent may take to answer whether it has a job, or which jobs it has.
_ANSWER_S: Final = 5.0
#: Seconds that an agent may take to create a job.
_CREATE_S: Final = 60.0


async def jobs_of(agent: ConnectedAgent, *, ended: bool = False) -> list[dict[str, Any]]:
    """Return the infos of the jobs of an agent, as many as it gives; none of an agent that has no list.

    ``ended``: of jobs that have ended instead, which agents of older releases do not list.
    """
    options = {"ended": True} if ended else {}
    found: list[dict[str, Any]] = []
    try:
        for _ in range(JOB_PAGES_MAX):
            page = await agent.call("job_list", found[-1]["uid"] if found else None, timeout=_ANSWER_S, **options)
            infos = [info for info in page if is_info(info)] if isinstance(page, list) else []
            if not infos or (found and infos[-1]["uid"] == found[-1]["uid"]):
                break
            found += infos
    except MethodNotFoundError:
        pass
    except CALL_ERRORS as error:
        _log.warning("agent %r: its jobs are not known: %s", agent.uid, error)
    return found


async def info_of(agent: ConnectedAgent, job_uid: str) -> dict[str, Any] | None:
    """Return the info of a job; None if the agent does not have it, or does not answer."""
    try:
        info: Any = await agent.call("job_info", job_uid, timeout=_ANSWER_S)
    except CALL_ERRORS:
        return None
    return info if is_info(info) and info["uid"] == job_uid else None


def is_info(value: Any) -> bool:
    """Return whether an agent's answer can be the info of a job."""
    return isinstance(value, dict) and isinstance(value.get("uid"), str)


async def create_at(agent: ConnectedAgent, name: str | None, linger: float | None, more: dict[str, Any]) -> Any:
    """Create a job; return the answer of the agent. CallError, LinkClosedError.

    An agent of an older release gets the arguments that it knows.
    """
    if not agent.is_ours:
        return await agent.call("job_create", name, timeout=_CREATE_S)
    lingering = {"linger": agent.linger if linger is None else linger}
    try:
        return await agent.call("job_create", name, timeout=_CREATE_S, **lingering, **more)
    except MethodError as error:
        if not _is_unknown_argument(error):
            raise
    return await agent.call("job_create", name, timeout=_CREATE_S, **lingering)


def _is_unknown_argument(error: MethodError) -> bool:
    """Return whether an agent refused a call because it does not know an argument of it."""
    return error.cause_type == "TypeError" and "unexpected keyword argument" in (error.cause_message or "")
