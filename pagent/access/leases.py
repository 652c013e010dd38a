"""Links and streams of the subjects of a closed router, and their quotas (docs/access.rst, "Quotas", "Revoking").

A lease stands for a request, an upgrade, a link or a stream. A subject whose token is revoked loses all of them.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from pagent.config.router import AccessQuota
from pagent.errors import QuotaExceededError
from pagent.rpc.directory import Subject

#: Seconds after which a client may ask again that has too many jobs or streams: some may have ended.
_RETRY_S: Final = 5
_MINUTE_S: Final = 60.0


class OpenLease:
    """One thing that a subject has open."""

    __slots__ = ("_leases", "close", "stream", "subject")

    def __init__(self, leases: SubjectLeases, subject: Subject, close: Callable[[], object], *, stream: bool) -> None:
        self._leases = leases
        self.subject = subject
        self.close = close
        self.stream = stream

    def release(self) -> None:
        """End the lease."""
        self._leases.discard(self)


class SubjectLeases:
    """All leases of one name, and the jobs that it has created in the last minute."""

    def __init__(self) -> None:
        self._open: set[OpenLease] = set()
        self._streams = 0
        self._created: deque[float] = deque()
        self.creating = 0  # jobs that are being created

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_unused(self) -> bool:
        """Whether the subject has no lease and no count, so that it can be forgotten."""
        self._forget_created()
        return not (self._open or self._created or self.creating)

    def open(self, subject: Subject, close: Callable[[], object], quota: AccessQuota, *, stream: bool) -> OpenLease:
        """Return a new lease. QuotaExceededError."""
        if stream and quota.streams is not None and self._streams >= quota.streams:
            raise QuotaExceededError(f"{subject.name} has {self._streams} streams open: the quota", _RETRY_S)
        lease = OpenLease(self, subject, close, stream=stream)
        self._open.add(lease)
        self._streams += stream
        return lease

    def discard(self, lease: OpenLease) -> None:
        """Forget a lease."""
        if lease in self._open:
            self._open.discard(lease)
            self._streams -= lease.stream

    def end(self, is_current: Callable[[Subject], bool]) -> int:
        """Close the leases of subjects that are not current any more; return their number."""
        ended = [lease for lease in self._open if not is_current(lease.subject)]
        for lease in ended:
            self.discard(lease)
            lease.close()
        return len(ended)

    def check_creation(self, name: str, jobs: int, quota: AccessQuota) -> None:
        """QuotaExceededError if a subject may create no job now; ``jobs``: those that it has."""
        if quota.jobs is not None and jobs + self.creating >= quota.jobs:
            raise QuotaExceededError(f"{name} has {jobs + self.creating} jobs: the quota", _RETRY_S)
        if quota.jobs_per_minute is None:
            return
        self._forget_created()
        if len(self._created) >= quota.jobs_per_minute:
            oldest = self._created[-quota.jobs_per_minute] if quota.jobs_per_minute else time.monotonic()
            wait = max(1, math.ceil(oldest + _MINUTE_S - time.monotonic()))
            raise QuotaExceededError(f"{name} has created {len(self._created)} jobs in a minute: the quota", wait)

    def note_creation(self) -> None:
        """Remember that a job is created now."""
        self._forget_created()
        self._created.append(time.monotonic())

    def _forget_created(self) -> None:
        while self._created and self._created[0] <= time.monotonic() - _MINUTE_S:
            self._created.popleft()
