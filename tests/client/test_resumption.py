"""Steps of a copy that are repeated after a lost link: how often, and after which errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from pagent.client import RemoteJob
from pagent.client.link import ClientLink
from pagent.client.local_files import Progress, no_progress
from pagent.client.resumption import Resumption
from pagent.errors import LinkClosedError, MethodError, PagentError, ServerError
from pagent.rpc.connection import GOES_AWAY


class Job:
    """A job whose link is there again at once, or fails with ``error``."""

    def __init__(self, error: PagentError | None = None) -> None:
        self.asked = 0
        self._error = error

    async def info(self) -> None:
        self.asked += 1
        if self._error is not None:
            raise self._error


class Link:
    """The link of the caller: ``is_over`` if no next one is made."""

    def __init__(self, *, is_over: bool = False) -> None:
        self.is_over = is_over


def steps_of(job: Job, notices: list[str] | None = None, *, is_over: bool = False) -> Resumption:
    notify = [] if notices is None else notices
    return Resumption(cast(ClientLink, Link(is_over=is_over)), cast(RemoteJob, job), notify.append)


def failing(*errors: PagentError) -> Callable[[], Awaitable[str]]:
    """Return a step that ends with each of these errors, and then succeeds."""
    left = list(errors)

    async def step() -> str:
        await asyncio.sleep(0)
        if left:
            raise left.pop(0)
        return "done"

    return step


def lost() -> LinkClosedError:
    return LinkClosedError(reason="the peer is gone")


@pytest.mark.parametrize(
    "error",
    [lost(), ServerError(GOES_AWAY), *(MethodError("x", name, "") for name in ("RouteError", "LinkClosedError"))],
)
async def test_a_step_is_repeated_after_a_lost_link(error: PagentError) -> None:
    notices: list[str] = []
    assert await steps_of(Job(), notices).run(failing(error)) == "done"
    assert notices == [f"{error}; the copy resumes with the next link"]


@pytest.mark.parametrize("error", [MethodError("x", "FileNotFoundError", ""), ServerError("too many calls")])
async def test_other_errors_end_the_step(error: PagentError) -> None:
    job = Job()
    with pytest.raises(type(error)) as caught:
        await steps_of(job).run(failing(error))
    assert caught.value is error
    assert not job.asked


async def test_a_link_that_is_over_ends_the_step() -> None:
    with pytest.raises(LinkClosedError, match="closed for good"):
        await steps_of(Job(LinkClosedError(reason="closed for good")), is_over=True).run(failing(lost()))


async def test_a_step_that_succeeds_is_progress() -> None:
    """Attempts in a row are limited, and these are not in a row."""
    steps = steps_of(Job())
    for _ in range(20):
        assert await steps.run(failing(lost())) == "done"


async def test_steps_that_the_same_loss_has_ended_count_as_one_attempt() -> None:
    job, notices = Job(), list[str]()
    steps = steps_of(job, notices)
    results = await asyncio.gather(*(steps.run(failing(lost())) for _ in range(20)))
    assert results == ["done"] * 20
    assert job.asked == 1
    assert len(notices) == 1


@pytest.mark.parametrize("cause", ["ValueError", "FileDigestError", "FileOffsetError"])
async def test_a_transfer_of_other_content_is_started_over_twice(cause: str) -> None:
    error = MethodError("x", cause, "")

    def transfer(step: Callable[[], Awaitable[str]]) -> Callable[[Progress], Awaitable[str]]:
        return lambda _: step()

    assert await steps_of(Job()).copy(transfer(failing(error, error)), no_progress) == "done"
    with pytest.raises(MethodError):
        await steps_of(Job()).copy(transfer(failing(error, error, error)), no_progress)
