"""A job for an agent that a pool starts: the words between the API and the pools of a router."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class PoolJob(NamedTuple):
    """The terms of a job. ``files``: path, content and whether it is executable, of each.

    ``start``: the arguments of job_start; None if the job is not to be started. ``linger``: None for the one of the
    configuration.
    """

    uid: str
    name: str | None
    labels: Mapping[str, str]
    linger: float | None = None
    idle_after: float | None = None
    files: tuple[tuple[str, bytes, bool], ...] = ()
    start: Mapping[str, Any] | None = None


class PoolRequestView(NamedTuple):
    """A request for an agent. ``message``: the last line of the engine's output, or why the request has ended."""

    rid: str
    pool: str
    state: str
    agent_uid: str
    parameters: Mapping[str, str]
    created_at: float
    job: PoolJob
    message: str
    has_failed: bool


class PoolView(NamedTuple):
    """A pool. ``most``: agents that it may have. ``agents``: uids of those that are connected."""

    name: str
    most: int
    parameters: tuple[str, ...]
    agents: tuple[str, ...]
    requests: tuple[PoolRequestView, ...]
