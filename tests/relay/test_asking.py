"""What agents answer about their jobs, also agents that answer anything."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.errors import CallTimeoutError, LinkClosedError, MethodNotFoundError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.asking import info_of, is_info, jobs_of
from pagent.router_limits import JOB_PAGES_MAX

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("uid"), inner),
    max_leaves=10,
)


class Answering:
    """An agent that gives these answers, one after the other; the last one again and again. Errors are raised."""

    def __init__(self, *answers: Any) -> None:
        self.uid = "A"
        self.calls: list[tuple[Any, ...]] = []
        self._answers = [*answers]

    async def call(self, method: str, *args: Any, timeout: float, **options: Any) -> Any:
        self.calls.append((method, *args, options))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Iterator):
            answer = next(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer


def agent(*answers: Any) -> tuple[ConnectedAgent, Answering]:
    answering = Answering(*answers)
    return cast(ConnectedAgent, answering), answering


def page(*uids: str) -> list[dict[str, str]]:
    return [{"uid": uid} for uid in uids]


async def test_all_pages_are_read() -> None:
    asked, answering = agent(page("a", "b"), page("c"), [])
    assert await jobs_of(asked) == page("a", "b", "c")
    assert answering.calls == [("job_list", None, {}), ("job_list", "b", {}), ("job_list", "c", {})]


async def test_ended_jobs_are_asked_for_by_an_option() -> None:
    asked, answering = agent([])
    assert await jobs_of(asked, ended=True) == []
    assert answering.calls == [("job_list", None, {"ended": True})]


async def test_an_agent_that_repeats_a_page_ends_the_listing() -> None:
    asked, answering = agent(page("a", "b"))
    assert await jobs_of(asked) == page("a", "b")
    assert len(answering.calls) == 2


async def test_the_pages_of_a_list_that_never_ends_are_bounded() -> None:
    asked, answering = agent([{"uid": str(number)}] for number in count())
    assert len(await jobs_of(asked)) == JOB_PAGES_MAX
    assert len(answering.calls) == JOB_PAGES_MAX


@pytest.mark.parametrize("error", [MethodNotFoundError("x"), CallTimeoutError("x"), LinkClosedError()])
async def test_an_error_ends_the_listing_with_the_jobs_received(error: Exception) -> None:
    asked, _ = agent(page("a"), error)
    assert await jobs_of(asked) == page("a")


@given(ANYTHING)
async def test_any_answer_is_a_list_of_infos(answer: Any) -> None:
    asked, answering = agent(answer)
    assert all(is_info(info) for info in await jobs_of(asked))
    assert len(answering.calls) <= 2


@given(ANYTHING)
async def test_any_answer_is_the_info_of_the_job_or_none(answer: Any) -> None:
    found = await info_of(agent(answer)[0], "a")
    assert found is None or found["uid"] == "a"


async def test_an_info_of_another_job_is_none() -> None:
    assert await info_of(agent({"uid": "b"})[0], "a") is None
    assert await info_of(agent({"uid": "a", "name": "n"})[0], "a") == {"uid": "a", "name": "n"}
    assert await info_of(agent(LinkClosedError())[0], "a") is None
