"""Remember jobs that were removed: ``job_list(ended=True)`` (docs/contract.rst, "Jobs")."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pagent import limits
from pagent.jobs.model import Job, Owner, sees
from pagent.jobs.output import STDERR
from pagent.jobs.sandbox import Sandbox


class EndedJob(NamedTuple):
    """A job that was removed. ``info``: its last one, with the keys that only ended jobs have."""

    realm: object
    age: tuple[float, str]
    info: dict[str, Any]
    #: By the clock of :class:`EndedJobs`.
    removed: float


class EndedJobs:
    """The last ``ENDED_JOBS`` jobs that were removed within ``ENDED_JOBS_S``. ``clock``: one that does not jump."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock: Final = clock
        self._jobs: dict[str, EndedJob] = {}  # the oldest removal first

    def add(self, job: Job, stderr: bytes) -> None:
        """Remember a job whose tree has ended."""
        info = ended_info(job, stderr, time.time())
        self._jobs.pop(job.uid, None)
        self._jobs[job.uid] = EndedJob(job.owner.realm, job.age, info, self._clock())
        self._expire()

    def forget(self, uid: str) -> None:
        """Forget a job: its uid is that of a new one."""
        self._jobs.pop(uid, None)

    def of_realm(self, realm: object) -> list[EndedJob]:
        """Return the ended jobs that a realm sees."""
        self._expire()
        return [job for job in self._jobs.values() if sees(realm, job.realm)]

    def _expire(self) -> None:
        oldest = self._clock() - limits.ENDED_JOBS_S
        while self._jobs:
            uid = next(iter(self._jobs))
            if self._jobs[uid].removed > oldest and len(self._jobs) <= limits.ENDED_JOBS:
                break
            del self._jobs[uid]


def note_removal(job: Job, by: Owner | None, *, agent_is_ending: bool) -> None:
    """Note the peer that removes a job, None for the agent, and why its process is ended if it runs."""
    job.removed_by = by
    if job.process_ended.is_set():
        return
    job.killed_by = by
    if by is None and job.error is None:
        job.error = "the agent has ended" if agent_is_ending else _lost_owner(job.terms.linger_s)


def _lost_owner(linger_s: float | None) -> str:
    lost = "the client that it belongs to has no link"
    return f"{lost}, and its linger time of {linger_s:g} s has passed" if linger_s else lost


def ended_info(job: Job, stderr: bytes, removed_at: float | None = None) -> dict[str, Any]:
    """Return the info of a job that has ended, with the end of its standard error, and the peers that ended it."""
    return {
        **job.info(),
        "stderr": stderr,
        "removed_at": removed_at,
        "removed_by": _peer(job.removed_by),
        "killed_by": _peer(job.killed_by),
    }


def stderr_of(sandbox: Sandbox) -> bytes:
    """Return the last ``ENDED_STDERR`` bytes of the standard error; nothing if there is none. It blocks on the disk."""
    if sandbox.log_size(STDERR) == 0:  # of most jobs: one system call instead of four
        return b""
    try:
        descriptor = sandbox.open_log(STDERR)
    except OSError:
        return b""
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, limits.ENDED_STDERR, max(0, size - limits.ENDED_STDERR))
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _peer(owner: Owner | None) -> dict[str, Any] | None:
    return None if owner is None else {"direction": owner.direction, "uid": owner.uid, "name": owner.name}
