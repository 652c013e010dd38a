"""The wishes of a caller of ``/v1`` for a new job, in the terms of the router's table of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

#: The orders in which agents that fit are chosen (docs/api.rst, "Where a job is created"); the first is the default.
ORDERS: Final = ("fewest-jobs", "least-load", "spread")


class AgentChoice(NamedTuple):
    """The agent for a new job: the one with this uid, otherwise one that fits.

    ``where``: the conditions as the caller gave them. ``order``: one of ORDERS. ``pool``: the agent is one of a pool,
    whose command has these ``parameters``.
    """

    uid: str | None = None
    where: Mapping[str, Any] = {}
    order: str = ORDERS[0]
    pool: str | None = None
    parameters: Mapping[str, Any] = {}


class NewJob(NamedTuple):
    """The terms of a job. ``linger``: None for the one of the configuration.

    ``files``, ``start``: as those of :class:`pagent.rpc.pool_job.PoolJob`, for a job whose agent is one of a pool.
    ``key`` makes the creation idempotent; ``digest`` identifies the whole request then.
    """

    name: str | None
    agent: AgentChoice
    labels: Mapping[str, str]
    linger: float | None
    idle_after: float | None
    key: str | None
    digest: str
    files: tuple[tuple[str, bytes, bool], ...] = ()
    start: Mapping[str, Any] | None = None

    @property
    def needs_terms(self) -> bool:
        """Whether the agent must know the arguments of a creation that agents of the field do not have."""
        return self.key is not None or self.linger is not None or self.idle_after is not None
