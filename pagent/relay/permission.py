"""The check of the calls of clients, and their lines of the audit log.

A call is judged by its method, on the job that it names and on the agent that it is then sent to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pagent.access.audit import AuditEntry, result_of
from pagent.access.operations import AUDITED, METHODS
from pagent.errors import (
    AccessDeniedError,
    JobNotFoundError,
    NotYetError,
    QuotaExceededError,
    RequestRefusedError,
    RouteError,
)
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.rpc.calls import IncomingCall
from pagent.rpc.directory import ANY_CONNECTION, Gate, JobAddress, Lease, Subject
from pagent.rpc.host import CallHost

_UNNAMED = Subject(None)


def subject_of(connection: CallHost) -> Subject:
    """Return on whose behalf a client calls."""
    return connection.realm if isinstance(connection.realm, Subject) else _UNNAMED


class CallPermission:
    """Finds the agents of jobs for calls that may be made."""

    def __init__(self, directory: AgentDirectory, gate: Gate) -> None:
        self._directory = directory
        self._gate = gate

    def agent_at_once(self, call: IncomingCall, job_uid: Any) -> ConnectedAgent | None:
        """Return the agent of a job that is known and connected; None if it is not.

        AccessDeniedError, or JobNotFoundError for a job that the client may not see.
        """
        if not isinstance(job_uid, str):
            raise JobNotFoundError(job_uid)
        key = self._directory.jobs.agent_of(job_uid)
        agent = None if key is None else self._directory.table.newest(key)
        if agent is not None:
            with _as_errors_of_calls(job_uid):
                self._permit(call, job_uid)
        return agent

    async def agent_of(self, call: IncomingCall, job_uid: str) -> ConnectedAgent:
        """Return the agent of a job; agents are asked, and waited for. Errors as above, or RouteError."""
        with _as_errors_of_calls(job_uid):
            with suppress(NotYetError):
                self._permit(call, job_uid)
            agent = await self._directory.locate(JobAddress(ANY_CONNECTION, job_uid))
            self._permit(call, job_uid)
        return agent

    def check(self, call: IncomingCall, job_uid: str) -> None:
        """Check a call for a job that is known. Errors as above."""
        with _as_errors_of_calls(job_uid):
            self._permit(call, job_uid)

    def _permit(self, call: IncomingCall, job_uid: str) -> None:
        job = JobAddress(ANY_CONNECTION, job_uid)
        self._gate.permit(subject_of(call.connection), METHODS[call.method], job)

    def lease(self, call: IncomingCall) -> Lease | None:
        """Count the stream of a call. QuotaExceededError. The client's link closes it if the token is revoked."""
        return self._gate.lease(subject_of(call.connection), lambda: None, stream=True)


@contextmanager
def _as_errors_of_calls(job_uid: str) -> Iterator[None]:
    try:
        yield
    except (AccessDeniedError, QuotaExceededError):
        raise
    except RequestRefusedError as error:
        raise (JobNotFoundError(job_uid) if error.status == 404 else RouteError(str(error))) from None


# --- the audit log ----------------------------------------------------------------------------------


def audit_of(call: IncomingCall, job_uid: Any = None) -> AuditEntry | None:
    """Return the line of a call in the audit log; None if it has none."""
    name = call.method
    if name not in AUDITED:
        return None
    connection = call.connection
    job = job_uid if isinstance(job_uid, str) else None
    return AuditEntry(name, f"{connection.uid}/{call.call_id}", subject=subject_of(connection).name, job=job)


@contextmanager
def failure_audited(entry: AuditEntry | None) -> Iterator[None]:
    """Write the line if the block ends with an error. Otherwise the end of the call writes it."""
    try:
        yield
    except BaseException as error:
        if entry is not None:
            entry.result = result_of(error)
            entry.write()
        raise


def at_the_end(entry: AuditEntry | None, lease: Lease | None) -> Callable[[asyncio.Future[Any]], None]:
    """Return the callback for the result of a call: release its stream, and write its line."""

    def ended(result: asyncio.Future[Any]) -> None:
        if lease is not None:
            lease.release()
        if entry is None:
            return
        error = asyncio.CancelledError() if result.cancelled() else result.exception()
        if error is not None:
            entry.result = result_of(error)
        entry.write()

    return ended
