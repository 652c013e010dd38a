"""Two agents that have a job with one uid, which was created with a key: the later one is removed."""

from __future__ import annotations

import asyncio

import pytest

from pagent.relay.keyed import REQUEST, keyed_uid
from pagent.router import Router
from pagent.rpc.directory import Subject
from tests.kit.peer import PATIENCE_S
from tests.kit.watched import Watched, watched_agent

JOB = "1" * 32


def agent(created_at: float, digest: str | None = "d") -> Watched:
    found = Watched(JOB)
    found.jobs[JOB] |= {"created_at": created_at, "labels": {} if digest is None else {REQUEST: digest}}
    return found


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("first", [1.0, 3.0])
async def test_the_later_job_is_removed(first: float, router: Router) -> None:
    known, claimant = agent(first), agent(2.0)
    async with watched_agent(router, "A", known), watched_agent(router, "B", claimant):
        stays, goes, uid = (known, claimant, "A") if first == 1.0 else (claimant, known, "B")
        await until(lambda: not goes.jobs)

        def is_there() -> bool:
            job = router.directory.jobs.get(JOB)
            return job is not None and job.agent_uid == uid

        await until(is_there)
        assert JOB in stays.jobs


@pytest.mark.parametrize(("known_digest", "digest"), [("d", None), ("d", "e"), (None, "d"), (None, None)])
async def test_no_agent_can_have_a_job_removed_that_it_does_not_know_the_request_of(
    known_digest: str | None, digest: str | None, router: Router
) -> None:
    known, claimant = agent(3.0, known_digest), agent(2.0, digest)
    async with watched_agent(router, "A", known), watched_agent(router, "B", claimant):
        assert router.directory.jobs.agent_of(JOB) is not None
        assert (JOB in known.jobs, JOB in claimant.jobs) == (True, True)
        assert "job_remove" not in known.calls + claimant.calls


async def test_the_later_job_of_an_agent_that_was_away(router: Router) -> None:
    late, early = agent(3.0), agent(2.0)
    async with watched_agent(router, "A", late):
        pass
    async with watched_agent(router, "B", early), watched_agent(router, "A", late):
        await until(lambda: not late.jobs)
        assert JOB in early.jobs


def test_the_uid_of_a_key() -> None:
    """It is part of the interface: other programs may compute it."""
    alice, unnamed = Subject("alice"), Subject(None)
    assert keyed_uid("R", alice, "k") == "90e84d871c939ce6da477af66b1d4025"
    assert len({keyed_uid(*each) for each in (("R", alice, "k"), ("R", unnamed, "k"), ("S", alice, "k"))}) == 3
    assert keyed_uid("R", Subject("a"), "bc") != keyed_uid("R", Subject("ab"), "c")
