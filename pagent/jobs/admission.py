"""Decide whether an agent takes new jobs."""

from __future__ import annotations

from typing import Final

from pagent.errors import JobInvalidStateError


class Admission:
    """The reasons for which an agent takes no new job: it ends, it is cordoned, or it has ``most`` jobs."""

    def __init__(self, most: int | None = None) -> None:
        #: Jobs at a time; None without a limit.
        self.most: Final = most
        self._ending = False
        self._cordoned = False

    @property
    def is_ending(self) -> bool:
        """Return whether the agent ends."""
        return self._ending

    @property
    def is_cordoned(self) -> bool:
        """Return whether the agent refuses new jobs of peers of pAgent."""
        return self._cordoned

    def end(self) -> None:
        """Refuse new jobs and new processes from now on."""
        self._ending = True

    def cordon(self, on: bool) -> bool:
        """Cordon the agent, or end that. Return whether this is a change."""
        changed = on is not self._cordoned
        self._cordoned = on
        return changed

    def require_open(self) -> None:
        """Raise JobInvalidStateError if the agent ends."""
        if self._ending:
            raise JobInvalidStateError("the agent is shutting down")

    def require_room(self, count: int, *, heeds_cordon: bool) -> None:
        """Raise JobInvalidStateError if the agent, which has ``count`` jobs, takes no new one.

        ``heeds_cordon``: the job is of a peer of pAgent.
        """
        self.require_open()
        if self.most is not None and count >= self.most:
            raise JobInvalidStateError(f"the agent has {count} jobs, as many as jobs.max allows")
        if heeds_cordon and self._cordoned:
            raise JobInvalidStateError("the agent is cordoned: it takes no new jobs")
