"""The limit of waits: by name, and given back however a wait ends."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from pagent.errors import QuotaExceededError
from pagent.rpc.directory import Subject
from pagent.web.v1.waits import WaitLimit


def test_each_subject_has_its_own_waits() -> None:
    limit = WaitLimit(2)
    with ExitStack() as open_waits:
        for _ in range(2):
            open_waits.enter_context(limit.wait(Subject("ann", credential="one")))
            open_waits.enter_context(limit.wait(Subject(None)))
        # Another credential of the same name is the same subject.
        for subject in (Subject("ann", credential="two"), Subject(None)):
            with pytest.raises(QuotaExceededError, match="2 waits are open") as refused, limit.wait(subject):
                pytest.fail("it was admitted")
            assert (refused.value.status, refused.value.retry_after_s) == (429, 5)
        with limit.wait(Subject("bob")):
            pass
    with limit.wait(Subject("ann")):
        pass


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError()])
def test_a_wait_that_fails_counts_no_more(error: BaseException) -> None:
    limit = WaitLimit(1)
    for _ in range(3):
        with pytest.raises(type(error)), limit.wait(Subject("ann")):
            raise error


def test_a_refused_wait_gives_nothing_back() -> None:
    limit, ann = WaitLimit(1), Subject("ann")
    with limit.wait(ann):
        for _ in range(2):
            with pytest.raises(QuotaExceededError), limit.wait(ann):
                pytest.fail("it was admitted")
