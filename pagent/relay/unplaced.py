"""Jobs that have no agent: it is started by a pool, or none has come."""

from __future__ import annotations

from pagent.rpc.directory import JobFacts


class UnplacedJobs:
    """The facts of such jobs, so that it is known which clients may ask for them."""

    def __init__(self) -> None:
        self._awaiting: dict[str, JobFacts] = {}
        self._abandoned: dict[str, JobFacts] = {}

    def facts(self, job_uid: str) -> JobFacts | None:
        """Return the facts of a job; None for one that is not among them."""
        return self._awaiting.get(job_uid) or self._abandoned.get(job_uid)

    def is_awaiting(self, job_uid: str) -> bool:
        """Return whether a job waits for its agent."""
        return job_uid in self._awaiting

    def add(self, facts: JobFacts) -> None:
        """Take note of a job that waits for its agent."""
        self._awaiting[facts.uid] = facts

    def discard(self, job_uid: str) -> None:
        """Forget a job: it is at its agent, or is not wanted any more."""
        self._awaiting.pop(job_uid, None)
        self._abandoned.pop(job_uid, None)

    def abandon(self, job_uid: str) -> None:
        """Keep a job that gets no agent: its client may ask why."""
        if (facts := self._awaiting.pop(job_uid, None)) is not None:
            self._abandoned[job_uid] = facts
