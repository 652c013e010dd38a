"""Decide by its target whether a request is traffic to a job, and return the target that the job gets."""

from __future__ import annotations

from typing import Final, NamedTuple

from pagent.rpc.directory import JobAddress

_START: Final = "/jobs/"
_PARTS: Final = 6  # "", "jobs", the connection, the job, "http", and the job's own target


class JobTarget(NamedTuple):
    """``target`` is what the job gets; ``prefix`` is what stands before it in the request's."""

    job: JobAddress
    prefix: str
    target: str


def job_target(target: str) -> JobTarget | None:
    """Return the job that a request in origin form is for; None if it is for none (docs/router.rst, "Job traffic").

    Nothing is decoded: a name in percent-encoding is another name.
    """
    if not target.startswith(_START):
        return None
    parts = target.split("/", _PARTS - 1)
    if len(parts) < _PARTS or parts[4] != "http":
        return None
    connection_id, job_uid = parts[2], parts[3]
    if not connection_id or not job_uid or "?" in connection_id or "?" in job_uid:
        return None
    prefix = f"{_START}{connection_id}/{job_uid}/http"
    return JobTarget(JobAddress(connection_id, job_uid), prefix, target[len(prefix) :])
