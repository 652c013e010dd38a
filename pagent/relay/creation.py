"""Decide at which agents a subject may create a job."""

from __future__ import annotations

from collections.abc import Mapping

from pagent.access.operations import JOBS
from pagent.errors import RequestRefusedError
from pagent.rpc.directory import Gate, JobFacts, Subject


def may_create(gate: Gate, subject: Subject, agent_uid: str, labels: Mapping[str, str], uid: str = "") -> bool:
    """Return whether a subject may create a job with these labels at an agent. ``uid``: of the job, if it is chosen."""
    try:
        gate.permit(subject, JOBS, JobFacts(uid, agent_uid, labels))
    except RequestRefusedError:
        return False
    return True
