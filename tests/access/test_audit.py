"""Lines of the audit log: the result of each kind of end, and names of any length."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from pagent.access.audit import AuditEntry, audited, result_of
from pagent.errors import CallCancelledError, LinkClosedError, MethodError, NotYetError, RequestRefusedError
from pagent.log import AUDIT_LOG
from pagent.router_limits import AUDIT_TEXT_MAX


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (RequestRefusedError(409, "secret"), "409"),
        (NotYetError(503, "secret"), "503"),
        (CallCancelledError("secret"), "cancelled"),
        (MethodError("secret", "JobNotFoundError", "secret"), "JobNotFoundError"),
        (MethodError("secret", None, None), "MethodError"),
        (LinkClosedError(1006, "secret"), "LinkClosedError"),
        (ValueError("secret"), "ValueError"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
def test_the_result_of_a_call_names_the_error_without_its_text(error: BaseException, result: str) -> None:
    assert result_of(error) == result


def written(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == AUDIT_LOG]


def test_each_block_writes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT_LOG)
    with audited(AuditEntry("job_kill", "r", subject="ann", job="j", trace="t")) as entry:
        assert entry is not None
        entry.agent = "A"
    with pytest.raises(RequestRefusedError), audited(AuditEntry("job_run", "r2")):
        raise RequestRefusedError(403, "secret")
    lines = written(caplog)
    assert lines[0].pop("time") > 0
    assert lines[0] == {
        "subject": "ann", "id": "r", "trace": "t", "operation": "job_kill", "job": "j", "agent": "A", "result": "ok",
    }  # fmt: skip
    assert (lines[1]["result"], lines[1]["subject"], lines[1]["job"]) == ("403", None, None)
    assert len(lines) == 2


def test_a_call_that_is_not_audited_has_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT_LOG)
    with audited(None) as entry:
        assert entry is None
    with pytest.raises(ValueError, match="x"), audited(None):
        raise ValueError("x")
    assert written(caplog) == []


@pytest.mark.parametrize("text", ["\n{", "\x1b[2J", "\udcff", '"', "x" * (AUDIT_TEXT_MAX + 1)])
def test_text_of_a_caller_stays_within_its_line(text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT_LOG)
    AuditEntry("job_kill", text, subject=text, job=text).write()
    (message,) = [record.getMessage() for record in caplog.records if record.name == AUDIT_LOG]
    assert message.isascii()
    assert message.isprintable()
    line = json.loads(message)
    assert line["id"] == line["subject"] == line["job"] == text[:AUDIT_TEXT_MAX]
