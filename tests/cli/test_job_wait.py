"""Waiting for a job while its link, or that of a router to its agent, is lost."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pagent.cli.job_wait import JobGoneError, wait_across_links
from pagent.cli.jobs import manage_work
from pagent.client import RemoteJob
from pagent.errors import LinkClosedError, MethodError

FINISHED = {"uid": "u", "name": "job", "state": "FINISHED", "exit_code": 0}
LOST = "the link is lost; it is made again"
AWAY = "the router has no link to the agent; it is waited for"
BACK = "the link is back"


class PeerLink:
    """A link whose peer remembers some jobs that were removed."""

    def __init__(self, *, ended: Sequence[dict[str, Any]] = (), is_agent: bool = True) -> None:
        self._pages = [[*ended], []]
        self._data: dict[str, Any] = {"properties": {}} if is_agent else {}
        self.process = "first"

    @property
    def peer(self) -> SimpleNamespace:
        return SimpleNamespace(instance=self.process, data=self._data)

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        assert (method, options) == ("job_list", {"ended": True})
        return self._pages.pop(0)


class LosingJob(RemoteJob):
    """A job whose first call ``job_wait`` ends with an error, and whose info needs a second try."""

    def __init__(self, error: Exception) -> None:
        link: Any = PeerLink()
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


class GoneJob(RemoteJob):
    """A job that is not found on the next link."""

    def __init__(self, link: PeerLink, *, restarted: bool) -> None:
        as_link: Any = link
        super().__init__(as_link, FINISHED)
        self._peer = link
        self._restarted = restarted

    async def wait(self) -> dict[str, Any]:
        raise LinkClosedError(1006, "own")

    async def info(self) -> dict[str, Any]:
        if self._restarted:
            self._peer.process = "second"
        raise MethodError("JobNotFoundError: not found", "JobNotFoundError", "not found")


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_job_that_was_removed_meanwhile_has_the_end_that_its_agent_remembers(restarted: bool) -> None:
    removed = FINISHED | {"exit_code": 3, "removed_at": 1.0}
    link = PeerLink(ended=[FINISHED | {"uid": "another"}, removed])
    assert await wait_across_links(GoneJob(link, restarted=restarted)) == removed


@pytest.mark.parametrize(
    ("restarted", "is_agent", "text"),
    [
        (True, True, "has ended with its agent, which was restarted"),
        (False, True, "it was removed while the link was lost"),
        (True, False, "it was removed while the link was lost, or has ended with its agent"),
    ],
)
async def test_a_job_of_which_nothing_is_known_any_more(restarted: bool, is_agent: bool, text: str) -> None:
    with pytest.raises(JobGoneError, match=text) as raised:
        await wait_across_links(GoneJob(PeerLink(is_agent=is_agent), restarted=restarted))
    assert raised.value.code == 3
