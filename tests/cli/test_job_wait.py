"""Waiting for a job while its link, or that of a router to its agent, is lost."""

from __future__ import annotations

from typing import Any

import pytest

from pagent.cli.job_wait import wait_across_links
from pagent.cli.jobs import manage_work
from pagent.client import RemoteJob
from pagent.errors import LinkClosedError, MethodError

FINISHED = {"uid": "u", "name": "job", "state": "FINISHED", "exit_code": 0}
LOST = "the link is lost; it is made again"
AWAY = "the router has no link to the agent; it is waited for"
BACK = "the link is back"


class LosingJob(RemoteJob):
    """A job whose first call ``job_wait`` ends with an error, and whose info needs a second try."""

    def __init__(self, error: Exception) -> None:
        link: Any = None
        super().__init__(link, FINISHED)
        self._failures = [error]
        self._refusals = [MethodError("RouteError: no link", "RouteError", "no link")]

    async def wait(self) -> dict[str, Any]:
        if self._failures:
            raise self._failures.pop()
        return FINISHED

    async def info(self) -> dict[str, Any]:
        if self._refusals:
            raise self._refusals.pop()
        return FINISHED


@pytest.mark.parametrize(
    ("error", "notice"),
    [
        pytest.param(LinkClosedError(1006, "own"), LOST, id="own link"),
        pytest.param(
            MethodError("LinkClosedError: of the router", "LinkClosedError", "of the router"), AWAY, id="router"
        ),
        pytest.param(MethodError("RouteError: no link", "RouteError", "no link"), AWAY, id="no route"),
    ],
)
async def test_a_job_is_waited_for_on_the_next_link(
    error: Exception, notice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    assert await wait_across_links(LosingJob(error), said.append) == FINISHED
    assert said == [notice, BACK]
    said.clear()
    monkeypatch.setattr(manage_work, "say", said.append)
    assert await manage_work.ended(LosingJob(error)) == FINISHED
    assert said == [notice, BACK]


async def test_another_error_is_raised() -> None:
    with pytest.raises(MethodError, match="not found"):
        await wait_across_links(LosingJob(MethodError("JobNotFoundError: not found", "JobNotFoundError", "not found")))
