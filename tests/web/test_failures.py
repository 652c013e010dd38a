from __future__ import annotations

import pytest

from pagent.errors import (
    CallTimeoutError,
    ConfigError,
    DialError,
    DialTimeoutError,
    HandshakeRefusedError,
    LinkClosedError,
    MethodError,
    MethodNotFoundError,
    NotYetError,
    RequestRefusedError,
    ServerError,
)
from pagent.web.failures import answer_to
from pagent.web.payloads import PayloadError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PayloadError("x"), 400),
        (ConfigError("x"), 400),
        (RequestRefusedError(403, "x"), 403),
        (NotYetError(503, "x", retry_after_s=2), 503),
        (DialError("x"), 502),
        (HandshakeRefusedError("x"), 502),
        (DialTimeoutError("x"), 504),
        (CallTimeoutError("x"), 504),
        (LinkClosedError(), 502),
        (MethodNotFoundError("x"), 502),
        (ServerError("x"), 502),
    ],
)
def test_the_status_of_an_error(error: Exception, status: int) -> None:
    answer = answer_to(error)
    assert answer.status == status
    assert answer.content_type == "text/plain"


#: By the cause at the agent.
CAUSES = {
    "JobNotFoundError": 404,
    "FileNotFoundError": 404,
    "ValueError": 400,
    "TypeError": 400,
    "NotADirectoryError": 400,
    "IsADirectoryError": 400,
    "PermissionError": 400,
    "ReadError": 400,
    "JobInvalidStateError": 409,
    "EndingError": 502,
    "ProcessExitedError": 502,
    "ProcessPortCountError": 502,
    "ProcessStartTimeoutError": 504,
    "OSError": 500,
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_status_of_what_a_method_raised(cause: str) -> None:
    error = MethodError("call 1 failed", cause, "the words")
    assert answer_to(error).status == CAUSES[cause]
    assert answer_to(error).text == "the words"


def test_a_job_that_is_not_there_is_named_by_the_uid_of_the_path() -> None:
    error = MethodError("call 1 failed", "JobNotFoundError", "no such job")
    assert answer_to(error, job_uid="x").text == "job 'x' is not found"
