"""Remove one of two jobs that two agents have with one uid: routers that saw different agents have made both.

Only jobs that were created with a key can come to that. The label with the digest of the request, which is known to the
job's agent alone, keeps another agent from having a job removed that it merely knows of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from pagent.errors import CALL_ERRORS
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.relay.agent import AgentKey
from pagent.relay.keyed import REQUEST
from pagent.relay.record import JobRecord, age_of, labels_of
from pagent.relay.table import AgentTable
from pagent.runtime.tasks import TaskOwner

_log = logging.getLogger(__name__)


class Duplicates:
    """Settles which of two jobs stays: the one that was created first.

    :param forget: forgets a job; the agent that has named it as its own, too, is believed then.
    """

    def __init__(self, table: AgentTable, tasks: TaskOwner, forget: Callable[[str], None]) -> None:
        # For life.
        self._table = table
        self._tasks = tasks
        self._forget = forget
        # While running.
        self._removing: set[tuple[str, AgentKey]] = set()

    def settle(self, known: JobRecord, claimant: AgentKey, info: Mapping[str, Any]) -> None:
        """Take note that ``claimant`` names a job as its own that ``known`` is, too."""
        digest = (labels_of(info) or {}).get(REQUEST)
        if digest is None:
            return
        if (age_of(info)[0], claimant.uid) >= (known.created_at, known.agent.uid):
            self._remove(known.uid, claimant)
        elif known.labels.get(REQUEST) == digest:
            self._remove(known.uid, known.agent)
            self._forget(known.uid)

    def _remove(self, uid: str, key: AgentKey) -> None:
        if (uid, key) not in self._removing:
            self._removing.add((uid, key))
            self._tasks.start(self._removed(uid, key), name="remove a job that was created twice")

    async def _removed(self, uid: str, key: AgentKey) -> None:
        try:
            # Without a link, the agent names the job again when it comes back.
            if (agent := self._table.newest(key)) is not None:
                await agent.call("job_remove", uid, timeout=DEFAULT_CALL_TIMEOUT_S)
                _log.warning("job %s was created twice: the later one, at agent %r, is removed", uid, key.uid)
        except CALL_ERRORS as error:
            _log.warning("job %s was created twice: the later one, at agent %r, stays: %s", uid, key.uid, error)
        finally:
            self._removing.discard((uid, key))
