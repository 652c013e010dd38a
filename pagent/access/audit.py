"""The audit log: one line of JSON for each call that changes something, and for each exec.

docs/access.rst, "Audit log", has the fields: names, ids and the result. Arguments, paths and fields of requests are not
among them, because they may hold secrets.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pagent.errors import CallCancelledError, MethodError, RequestRefusedError
from pagent.log import AUDIT_LOG
from pagent.router_limits import AUDIT_TEXT_MAX

_log = logging.getLogger(AUDIT_LOG)

OK: Final = "ok"
CANCELLED: Final = "cancelled"


class AuditEntry:
    """The line of one call. ``job`` and ``agent`` are set as they become known.

    ``result``: ``ok``, the status of an error, or the name of one.
    """

    __slots__ = ("_began", "_operation", "_request_id", "_trace", "agent", "job", "result", "subject")

    def __init__(
        self,
        operation: str,
        request_id: str,
        *,
        subject: str | None = None,
        job: str | None = None,
        trace: str | None = None,
    ) -> None:
        self._began = time.time()
        self._operation = operation
        self._request_id = request_id
        self._trace = trace
        self.subject = subject
        self.job = job
        self.agent: str | None = None
        self.result = OK

    def write(self) -> None:
        """Write the line."""
        line = {
            "time": round(self._began, 3),
            "subject": _cut(self.subject),
            "id": _cut(self._request_id),
            "trace": self._trace,
            "operation": self._operation,
            "job": _cut(self.job),
            "agent": _cut(self.agent),
            "result": self.result,
        }
        _log.info("%s", json.dumps(line))


def result_of(error: BaseException) -> str:
    """Return the result of a call that has ended with an error."""
    if isinstance(error, RequestRefusedError):
        return str(error.status)
    if isinstance(error, CallCancelledError):
        return CANCELLED
    if isinstance(error, MethodError) and error.cause_type:
        return error.cause_type
    return type(error).__name__ if isinstance(error, Exception) else CANCELLED


@contextmanager
def audited(entry: AuditEntry | None) -> Iterator[AuditEntry | None]:
    """Write the line of a call at the end of the block, with the error that ends the block if there is one."""
    try:
        yield entry
    except BaseException as error:
        if entry is not None:
            entry.result = result_of(error)
        raise
    finally:
        if entry is not None:
            entry.write()


def _cut(text: str | None) -> str | None:
    """Return a name or id as far as it can be one: a caller may name a job with any text."""
    return None if text is None else text[:AUDIT_TEXT_MAX]
