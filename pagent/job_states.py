"""The states of a job, as they are on the wire (docs/contract.rst, "Methods"; docs/router.rst, "Pools")."""

from __future__ import annotations

from typing import Final

NEW: Final = "NEW"
PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
FINISHED: Final = "FINISHED"
CLOSED: Final = "CLOSED"
#: Of a job that waits for an agent of its pool.
QUEUED: Final = "QUEUED"
#: Of a job whose agent has no link to the router; its info is the one that was last known.
UNREACHABLE: Final = "UNREACHABLE"

#: States of jobs that have ended.
ENDED: Final = (FINISHED, CLOSED)
