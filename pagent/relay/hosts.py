"""The methods of clients on hosts: their figures together, and the cordon (docs/router.rst, "Calls of clients")."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from pagent import __version__
from pagent.access.audit import AuditEntry, audited
from pagent.access.operations import ADMIN, METHODS
from pagent.errors import CALL_ERRORS, AccessDeniedError, RequestRefusedError, RouteError
from pagent.limits import JOBS_LISTED, JOBS_LISTED_BYTES, WATCH_INTERVAL_MIN_S, WATCH_INTERVAL_S
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.relay.host import HostReport, parse_report
from pagent.relay.permission import audit_of, subject_of
from pagent.relay.watching import RelayedWatch
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.directory import Gate, JobFacts
from pagent.rpc.intervals import checked_interval
from pagent.rpc.methods import istream, unary
from pagent.runtime.timeslice import current_slice
from pagent.wire import messages

#: Seconds that an agent may take to answer; a slower one is left out of the figures.
_ANSWER_S: Final = 5.0
#: The figures that are added up.
_SUMS: Final = ("cpus", "load", "memory_total", "memory_available", "disk_free", "disk_total", "jobs")


class HostRelay:
    """The methods on hosts. ``agent`` is the uid of one agent; None means all agents of ours that are connected."""

    def __init__(self, directory: AgentDirectory, gate: Gate) -> None:
        self._directory = directory
        self._gate = gate
        self._started_at = time.time()
        self._slice = current_slice()

    @unary
    async def host_info(self, call: IncomingCall, agent: str | None = None) -> Any:
        return await self._together(self._chosen(call, agent), "host_info")

    @unary
    async def agent_list(self, call: IncomingCall, after: str | None = None, limit: int = JOBS_LISTED) -> Any:
        if after is not None and not isinstance(after, str):
            raise TypeError(f"after must be a str or nil, not {type(after).__name__}")
        if type(limit) is not int or limit < 1:
            raise ValueError("limit must be a number of agents, at least 1")
        self._chosen(call, None)
        links = {link.uid: link for link in self._directory.table if not link.retiring}
        page: list[dict[str, Any]] = []
        size = 0
        for uid in sorted(uid for uid in links if after is None or uid > after)[: min(limit, JOBS_LISTED)]:
            await self._slice.wait()
            page.append(_description(links[uid]))
            size += len(messages.pack(page[-1]))
            if size > JOBS_LISTED_BYTES:
                break
        return page

    @istream
    async def agent_watch(self, call: IncomingCall, interval: float = WATCH_INTERVAL_S) -> None:
        agents = self._chosen(call, None)
        interval_s = checked_interval(interval, WATCH_INTERVAL_MIN_S)
        subject = subject_of(call.connection)
        assert call.stream is not None
        await self._directory.watches.until_listed((agent.key for agent in agents), _ANSWER_S)
        with RelayedWatch(self._directory, lambda job: self._gate.sees(subject, job), self._pushed) as watch:
            await watch.send(AsyncStream(call.stream), interval_s)

    @unary
    async def host_cordon(self, call: IncomingCall, on: bool, agent: str | None = None) -> Any:
        if type(on) is not bool:
            raise TypeError(f"on must be a bool, not {type(on).__name__}")
        with audited(audit_of(call)) as entry:
            return await self._together(self._chosen(call, agent, entry), "host_cordon", on)

    @unary
    async def host_end(self, call: IncomingCall, grace: float = 5.0, agent: str | None = None) -> Any:
        if agent is None:
            raise ValueError("agent must be the uid of the agent to end")
        with audited(audit_of(call)) as entry:
            (chosen,) = self._chosen(call, agent, entry)
            return await chosen.call("host_end", grace, timeout=_ANSWER_S)

    def _chosen(self, call: IncomingCall, uid: Any, entry: AuditEntry | None = None) -> list[ConnectedAgent]:
        """Return the links of the agents that a call concerns. RouteError if the one that it names is away.

        AccessDeniedError if the client may not make the call. Every ``read`` is good for all agents.
        """
        if entry is not None and isinstance(uid, str):
            entry.agent = uid
        operation = METHODS[call.method]
        named = JobFacts("", uid, {}) if operation == ADMIN and isinstance(uid, str) else None
        try:
            self._gate.permit(subject_of(call.connection), operation, named)
        except RequestRefusedError:
            raise AccessDeniedError(403, f"the token has no scope {operation!r} for this") from None
        table = self._directory.table
        if uid is None:
            return [agent for agent in table if agent.is_ours and not agent.retiring]
        agent = table.agent(uid) if isinstance(uid, str) else None
        if agent is None:
            raise RouteError(f"no connected agent with uid {uid!r}")
        return [agent]

    async def _together(self, agents: list[ConnectedAgent], method: str, *args: Any) -> dict[str, Any]:
        """Call a method that returns the figures of a host at each agent; return the sum of those that answer."""
        answers = await asyncio.gather(*(_figures(agent, method, *args) for agent in agents))
        return self._sum([report for report in answers if report is not None])

    def _pushed(self) -> dict[str, Any]:
        """Return the sum of the figures that agents have sent last."""
        return self._sum([agent.host for agent in self._directory.table if agent.is_ours and not agent.retiring])

    def _sum(self, reports: list[HostReport]) -> dict[str, Any]:
        return {
            **{name: sum(getattr(report, name) or 0 for report in reports) for name in _SUMS},
            "version": __version__,
            "started_at": self._started_at,
            "cordoned": bool(reports) and all(report.cordoned for report in reports),
            "deadline": None,
            "agents": len(reports),
        }


def _description(link: ConnectedAgent) -> dict[str, Any]:
    """Return an agent as ``agent_list`` has it."""
    return {
        "uid": link.uid,
        "name": link.name,
        "mode": link.mode,
        "address": link.connection.link.peer_address,
        "connected_at": link.connected_at,
        **link.describe(),
        **link.figures(),
    }


async def _figures(agent: ConnectedAgent, method: str, *args: Any) -> HostReport | None:
    """Return the figures of an agent's host; None from an agent that does not know the method or does not answer."""
    try:
        info: Any = await agent.call(method, *args, timeout=_ANSWER_S)
    except CALL_ERRORS:
        return None
    return parse_report(info) if isinstance(info, dict) else None
