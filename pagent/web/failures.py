"""Map the failure of a request to the status and the text of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from pagent.errors import (
    CallError,
    CallTimeoutError,
    ConfigError,
    DialError,
    DialTimeoutError,
    LinkClosedError,
    MethodError,
    MethodNotFoundError,
    RequestRefusedError,
    ServerError,
)
from pagent.system_errors import system_refusal
from pagent.web.local import text
from pagent.web.payloads import PayloadError

_UNAUTHORIZED: Final = 401

#: Errors of operations on jobs, in addition to those of `_status_of`.
EXPECTED: Final = (CallError, ConfigError, DialError, LinkClosedError, PayloadError, RequestRefusedError)

#: By the name of the cause at the agent.
_CAUSES: Final[Mapping[str, int]] = {
    "JobNotFoundError": 404,
    "FileNotFoundError": 404,
    "JobInvalidStateError": 409,
    "ValueError": 400,
    "TypeError": 400,
    "NotADirectoryError": 400,
    "IsADirectoryError": 400,
    "FileExistsError": 400,
    "PermissionError": 400,
    "UnicodeError": 400,
    "UnicodeEncodeError": 400,
    "ReadError": 400,  # of tarfile
    "EndingError": 502,
    "ProcessExitedError": 502,
    "ProcessPortCountError": 502,
    "ProcessStartTimeoutError": 504,
    "StuckError": 504,
}


def answer_to(error: Exception, *, job_uid: str | None = None) -> web.Response:
    """Return the answer for an error of ``EXPECTED``."""
    if isinstance(error, RequestRefusedError):
        fields = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        if error.status == _UNAUTHORIZED:
            fields["WWW-Authenticate"] = "Bearer"
        return text(str(error), status=error.status, headers=fields)
    if isinstance(error, MethodError):
        if error.cause_type == "JobNotFoundError" and job_uid is not None:
            return text(f"job {job_uid!r} is not found", status=404)
        return answer_to(refusal_of_method(error))
    refusal = system_refusal(error, place="the router")
    return answer_to(refusal) if refusal is not None else text(str(error), status=_status(error))


def refusal_of_method(error: MethodError) -> RequestRefusedError:
    """Return the answer for an error that a method raised at an agent."""
    status = _CAUSES.get(error.cause_type or "")
    if status is not None:
        return RequestRefusedError(status, words_of(error))
    return system_refusal(error, place="the agent") or RequestRefusedError(500, words_of(error))


def _status(error: Exception) -> int:
    match error:
        case PayloadError() | ConfigError():
            return 400
        case CallTimeoutError() | DialTimeoutError():
            return 504
        case DialError() | LinkClosedError() | MethodNotFoundError() | ServerError():
            return 502
    return 500


def words_of(error: MethodError) -> str:
    """Return the text of an error that a method raised at an agent."""
    return error.cause_message or str(error)
