"""Decide which job a request is for, and return the target that the job gets. A listener has one such function.

:func:`job_target` is that of ``control``, :mod:`pagent.front.apps` has the one of ``apps``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pagent.http1.incoming import IncomingHead
from pagent.http1.mounted import Mount
from pagent.rpc.directory import JobAddress

_START: Final = "/jobs/"
_PARTS: Final = 6  # "", "jobs", the connection, the job, "http", and the job's own target


class JobTarget:
    """Where a request goes.

    ``target`` is what the job gets; ``prefix`` is what stands before it in the request's. ``port``: the one that the
    request names, of a job with several. ``mount``: rewrites the head of the answer; None to pass it on as it is.
    """

    __slots__ = ("job", "mount", "port", "prefix", "target")

    def __init__(
        self, job: JobAddress, prefix: str, target: str, port: int | None = None, mount: Mount | None = None
    ) -> None:
        self.job = job
        self.prefix = prefix
        self.target = target
        self.port = port
        self.mount = mount


#: Returns the target of a request; None if it is for no job, so that another protocol takes over its connection.
#: RequestRefusedError is the answer to a request that is neither.
Route = Callable[[IncomingHead], JobTarget | None]


def job_target(head: IncomingHead) -> JobTarget | None:
    """Return the job that a request to ``control`` is for; None if it is for none (docs/router.rst, "Job traffic").

    The target is not decoded: a name in percent-encoding is another name.
    """
    target = head.target
    if not target.startswith(_START):
        return None
    parts = target.split("/", _PARTS - 1)
    if len(parts) < _PARTS or parts[4] != "http":
        return None
    connection_id, job_uid = parts[2], parts[3]
    if not connection_id or not job_uid or "?" in connection_id or "?" in job_uid:
        return None
    end = len(target) - len(parts[5]) - 1
    return JobTarget(JobAddress(connection_id, job_uid), target[:end], target[end:])
