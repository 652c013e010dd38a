"""Requests for agents: what is reported of them, and the jobs that wait."""

from __future__ import annotations

import time

import pytest

from pagent.relay.agent import AgentKey
from pagent.relay.pools.adoption import since_of, take_notes
from pagent.relay.pools.notes import CANCELLED_NOTE, CLAIM_NOTE, DONE, WITHDRAWN, command_uid_of, encode_job
from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.states import RequestedJobInput, RequestInput, RequestState
from pagent.relay.record import JobRecord
from tests.relay.pools.examples import DATA, JOB


def new_request() -> tuple[PoolRequest, list[bool]]:
    """A request, and for each report whether its state is another."""
    reports: list[bool] = []
    place = (1.0, "c")
    request = PoolRequest(
        DATA, command_uid_of("rid"), place, RequestState.REQUESTED, 1.0, lambda _, is_other: reports.append(is_other)
    )
    return request, reports


def test_changes_are_reported_once() -> None:
    request, reports = new_request()
    request.apply(RequestInput.START)
    request.add_output("stdout", b"waiting\n")
    request.add_output("stderr", b"\n")
    request.apply(RequestInput.JOIN)
    request.apply(RequestInput.JOIN)
    assert reports == [True, False, True]
    request.apply(RequestInput.END)
    with pytest.raises(KeyError):
        request.apply(RequestInput.START)


def test_the_time_of_the_latest_state() -> None:
    request, _ = new_request()
    assert request.view().state_changed_at == 1.0
    before = time.time()
    request.apply(RequestInput.START)
    since = request.view().state_changed_at
    assert before <= since <= time.time()
    request.add_output("stdout", b"waiting\n")
    assert request.view().state_changed_at == since


@pytest.mark.parametrize(
    ("state", "started_at", "since"),
    [
        (RequestState.REQUESTED, None, 5.0),
        (RequestState.QUEUED, 7.5, 7.5),
        (RequestState.QUEUED, None, None),
        (RequestState.QUEUED, 1e12, None),  # the clock of the command's host is wrong
        (RequestState.CONNECTED, 7.5, None),
    ],
)
def test_the_time_of_a_state_that_another_router_has_seen(
    state: RequestState, started_at: float | None, since: float | None
) -> None:
    job = JobRecord("c", AgentKey("host", None))
    job.take({"uid": "c", "state": "RUNNING", "created_at": 5.0, "started_at": started_at})
    before = time.time()
    found = since_of(job, state)
    assert found == since if since is not None else before <= found <= time.time()


def test_jobs_wait_until_they_have_an_agent_or_a_reason() -> None:
    request, _ = new_request()
    request.take_claim(3, encode_job(JOB._replace(uid="b" * 32, files=())))
    assert [job.uid for job in request.pending.values()] == [JOB.uid, "b" * 32]
    request.fail("no partition", JOB)
    assert [*request.pending] == [3]
    request.take_claim(3, WITHDRAWN)
    assert request.pending == {}


def test_a_cancelled_job_does_not_wait_although_an_agent_gets_it_meanwhile() -> None:
    request, _ = new_request()
    request.cancel(JOB.uid)
    request.apply_to_job(RequestedJobInput.DELIVER)
    assert request.pending == {}
    assert request.is_cancelled
    assert request.unkept == {JOB.uid: (CANCELLED_NOTE, DONE)}


def test_a_note_of_an_agent_that_is_none_changes_nothing() -> None:
    request, _ = new_request()
    request.fail("no partition", JOB)
    other, _ = new_request()
    other.take_failures(request.encoded_failures())
    other.take_failures(b"\xc1")
    other.take_claim(1, b"\xc1")
    assert other.failures == request.failures
    assert other.pending == {}


@pytest.mark.parametrize("number", ["", "-1", "²", "٣", "1_0", " 1", "1\n", "9" * 5000])
def test_a_note_of_a_claim_without_a_number_is_ignored(number: str) -> None:
    request, _ = new_request()
    record = JobRecord("c" * 32, AgentKey("agent", None))
    record.notes = {f"{CLAIM_NOTE}{number}": encode_job(JOB)}
    take_notes(request, record)
    assert request.claims == {}
