"""Which start a port report is for: the secret of the report says it, and nothing else does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pagent.jobs.ports import ReportError
from pagent.jobs.reports import take_report
from pagent.jobs.run import Run


class FakeReadiness:
    def __init__(self) -> None:
        self.ports: list[int] = []

    async def report(self, port: int) -> None:
        self.ports.append(port)


def starts(*secrets: str) -> tuple[list[Run], list[FakeReadiness]]:
    """Return starts with these secrets, and their readiness."""
    ready = [FakeReadiness() for _ in secrets]
    runs: list[Any] = [
        SimpleNamespace(secret=secret, readiness=each) for secret, each in zip(secrets, ready, strict=True)
    ]
    return cast(list[Run], runs), ready


def query(job_id: str, port: str = "8000") -> list[tuple[str, str]]:
    return [("job_id", job_id), ("port", port)]


async def test_a_report_is_for_the_start_with_its_secret() -> None:
    runs, ready = starts("a" * 32, "b" * 32)
    await take_report(query("b" * 32), runs, ())
    assert [each.ports for each in ready] == [[], [8000]]


@pytest.mark.parametrize(
    "job_id", ["", "a", "a" * 31, "a" * 33, "A" * 32, "\u00e4" * 32, "\ud800", "a" * 31 + "\0", "x" * 100_000]
)
async def test_another_secret_is_of_no_job(job_id: str) -> None:
    runs, ready = starts("a" * 32)
    with pytest.raises(ReportError, match=r"^unknown job$"):
        await take_report(query(job_id), runs, ())
    assert ready[0].ports == []


async def test_a_report_without_any_start() -> None:
    with pytest.raises(ReportError, match=r"^unknown job$"):
        await take_report(query("a" * 32), [], ())


async def test_a_port_of_the_agent_is_refused_before_the_secret_is_compared() -> None:
    runs, ready = starts("a" * 32)
    for job_id in ("a" * 32, "b" * 32):
        with pytest.raises(ReportError, match=r"^bad port: it is the agent's own$"):
            await take_report(query(job_id), runs, {8000})
    assert ready[0].ports == []


async def test_a_query_that_is_none_is_refused_first() -> None:
    runs, _ = starts("a" * 32)
    with pytest.raises(ReportError, match="missing parameter: port"):
        await take_report([("job_id", "a" * 32)], runs, ())
