from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.jobs.supervision import Supervision, SupervisorEvent, next_supervision

REQUESTED, STARTED, FAILED, ENDED, KILLED = SupervisorEvent


def after(*events: SupervisorEvent) -> Supervision:
    return reduce(next_supervision, events, Supervision.NONE)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([REQUESTED, STARTED, ENDED], Supervision.ENDED),
        ([REQUESTED, STARTED, KILLED], Supervision.KILLED),
        ([REQUESTED, ENDED, STARTED], Supervision.ENDED),  # both in one report: the end is looked at first
        ([REQUESTED, FAILED, KILLED], Supervision.NONE),  # the socket of one that never was is closed
        ([REQUESTED, FAILED, REQUESTED, STARTED], Supervision.RUNNING),
    ],
)
def test_the_life_of_a_supervisor(events: list[SupervisorEvent], state: Supervision) -> None:
    assert after(*events) is state


@given(st.lists(st.sampled_from(SupervisorEvent)))
def test_a_supervisor_that_has_ended_stays_so(events: list[SupervisorEvent]) -> None:
    for last in (ENDED, KILLED):
        end = after(REQUESTED, STARTED, last)
        assert after(REQUESTED, STARTED, last, *events) is end


@given(st.lists(st.sampled_from([event for event in SupervisorEvent if event is not STARTED])))
def test_a_supervisor_that_has_not_started_is_never_killed(events: list[SupervisorEvent]) -> None:
    assert after(*events) not in (Supervision.RUNNING, Supervision.KILLED)
