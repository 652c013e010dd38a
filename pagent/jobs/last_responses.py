"""Decide whether a response is complete whose end is that of its connection, if the connection ends with its job.

Such a response has neither a length nor a last chunk (RFC 9112 section 6.3), and the kernel closes the connections of a
process that is killed in the same way as the process would. So the response of a job that is being ended, or that did
not exit with code 0, has to count as incomplete (RFC 9112 section 8).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from pagent.jobs.model import Job
from pagent.jobs.tree import NATIVE
from pagent.runtime.silence import SilenceLimit

#: Seconds in which the supervisor of a job reports the end of a process that exits. No report comes if only the first
#: thread of a program has ended.
_REPORTED_S: Final = 5.0


def completeness(job: Job) -> Awaitable[bool] | None:
    """Return None if the job still runs: the response is complete. Otherwise return the verdict of the job's end."""
    if not job.is_ending and job.pid is not None and not job.process_ended.is_set() and not NATIVE.is_exiting(job.pid):
        return None
    return _has_exited_well(job)


async def _has_exited_well(job: Job) -> bool:
    if job.is_ending:
        return False
    try:
        async with SilenceLimit(_REPORTED_S):
            await job.process_ended.wait()
    except TimeoutError:
        return True
    return job.exit_code == 0 and not job.is_ending
