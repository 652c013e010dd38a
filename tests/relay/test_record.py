from __future__ import annotations

import pytest

from pagent.relay.agent import AgentKey
from pagent.relay.record import JobRecord, labels_of
from pagent.router_limits import JOB_INFO_KEPT_MAX

INFO = {"uid": "j", "name": "a job", "state": "RUNNING", "created_at": 5.5, "ports": [80], "error": None}


@pytest.fixture
def record() -> JobRecord:
    return JobRecord("j", AgentKey("A", None))


def test_the_info_of_a_job(record: JobRecord) -> None:
    assert record.info() == {"uid": "j", "state": "NEW"}
    record.take(INFO)
    assert record.info() == INFO
    assert (record.state, record.created_at, record.age) == ("RUNNING", 5.5, (5.5, "j"))
    record.labels = {"a": "b"}  # which its agent does not know
    assert record.info() == {**INFO, "labels": {"a": "b"}}


def test_a_value_of_another_type_is_not_taken(record: JobRecord) -> None:
    record.take({"uid": "j", "state": 5, "created_at": "now", "labels": 7})
    assert (record.state, record.created_at, record.labels) == ("NEW", 0.0, {})
    record.take({"uid": "j", "state": "of another release", "created_at": float("nan")})
    assert (record.state, record.created_at) == ("unknown", 0.0)


def test_a_huge_info_is_not_kept(record: JobRecord) -> None:
    record.take({**INFO, "labels": {"a": "b"}})
    record.take({**INFO, "state": "FINISHED", "labels": {}, "error": "x" * JOB_INFO_KEPT_MAX})
    assert record.info() == {"uid": "j", "state": "FINISHED", "labels": {"a": "b"}}
    assert record.size < JOB_INFO_KEPT_MAX


def test_notes(record: JobRecord) -> None:
    before = record.size
    record.note("a", b"1")
    record.note("b", b"2")
    record.note("a", b"3")
    assert record.notes == {"a": b"3", "b": b"2"}
    record.note("a", None)
    record.note("a", None)
    record.note("b", None)
    assert record.notes == {}
    assert record.size == before


def test_labels_in_an_info() -> None:
    assert labels_of({}) is None
    assert labels_of({"labels": ["a"]}) is None
    assert labels_of({"labels": {"a": "b", "c": 1, 2: "d"}}) == {"a": "b"}
