"""Decide whether an agent takes new jobs."""

from __future__ import annotations

from pagent.errors import JobInvalidStateError


class Admission:
    """The reasons for which an agent takes no new job: it ends, or it is cordoned."""

    def __init__(self) -> None:
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
        """JobInvalidStateError if the agent ends."""
        if self._ending:
            raise JobInvalidStateError("the agent is shutting down")

    def require_room(self, *, heeds_cordon: bool) -> None:
        """JobInvalidStateError if the agent takes no new job. ``heeds_cordon``: the job is of a peer of pAgent."""
        self.require_open()
        if heeds_cordon and self._cordoned:
            raise JobInvalidStateError("the agent is cordoned: it takes no new jobs")
