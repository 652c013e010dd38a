from __future__ import annotations

from itertools import product

import pytest

from pagent.relay.pools.states import (
    RequestedJobInput,
    RequestedJobState,
    RequestInput,
    RequestState,
    next_job_state,
    next_state,
)

JOB = RequestedJobInput


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_a_cancelled_job_stays_cancelled_whatever_comes_late(length: int) -> None:
    for events in product(JOB, repeat=length):
        state = next_job_state(RequestedJobState.WAITING, JOB.CANCEL)
        for event in events:
            state = next_job_state(state, event)
        assert state is RequestedJobState.CANCELLED


def test_an_input_may_be_repeated() -> None:
    for state, event in product(RequestedJobState, JOB):
        after = next_job_state(state, event)
        assert next_job_state(after, event) is after
        assert after is not RequestedJobState.WAITING


@pytest.mark.parametrize("first", [JOB.DELIVER, JOB.MOVE])
def test_the_agent_of_the_request_has_the_job_also_if_it_was_moved(first: RequestedJobInput) -> None:
    state = next_job_state(next_job_state(RequestedJobState.WAITING, first), JOB.DELIVER)
    assert state is RequestedJobState.DELIVERED
    assert next_job_state(state, JOB.MOVE) is RequestedJobState.DELIVERED


def test_a_request_never_goes_back() -> None:
    order = [*RequestState]
    for state in order[:-1]:
        for event in RequestInput:
            try:
                after = next_state(state, event)
            except KeyError:
                continue
            assert order.index(after) >= order.index(state)
        assert next_state(state, RequestInput.END) is RequestState.ENDED


@pytest.mark.parametrize("event", RequestInput)
def test_nothing_happens_to_a_request_that_has_ended(event: RequestInput) -> None:
    with pytest.raises(KeyError):
        next_state(RequestState.ENDED, event)
