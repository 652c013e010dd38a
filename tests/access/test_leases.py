from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.access import leases as module
from pagent.access.leases import SubjectLeases
from pagent.config.router import AccessQuota
from pagent.errors import QuotaExceededError
from pagent.rpc.directory import Subject

ALICE = Subject("alice", credential="one")
RENEWED = Subject("alice", credential="two")
NONE = AccessQuota()


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def unused() -> None:
    pytest.fail("closed")


@given(st.lists(st.booleans()), st.integers(0, 5))
def test_only_streams_count_against_their_quota(streams: list[bool], most: int) -> None:
    leases, quota = SubjectLeases(), AccessQuota(streams=most)
    opened = 0
    for stream in streams:
        if stream and opened >= most:
            with pytest.raises(QuotaExceededError):
                leases.open(ALICE, unused, quota, stream=True)
        else:
            leases.open(ALICE, unused, quota, stream=stream)
            opened += stream
    assert len(leases) == opened + streams.count(False)


def test_a_lease_that_is_released_twice_frees_one_place() -> None:
    leases, quota = SubjectLeases(), AccessQuota(streams=2)
    first = leases.open(ALICE, unused, quota, stream=True)
    leases.open(ALICE, unused, quota, stream=True)
    first.release()
    first.release()
    leases.open(ALICE, unused, quota, stream=True)
    with pytest.raises(QuotaExceededError, match="alice has 2 streams open"):
        leases.open(ALICE, unused, quota, stream=True)


def test_only_leases_of_removed_tokens_are_closed() -> None:
    leases, closed = SubjectLeases(), list[str]()
    leases.open(ALICE, lambda: closed.append("old"), NONE, stream=True)
    leases.open(RENEWED, unused, NONE, stream=True)
    assert leases.end(lambda subject: subject == RENEWED) == 1
    assert closed == ["old"]
    assert len(leases) == 1
    assert leases.end(lambda subject: subject == RENEWED) == 0


def test_a_lease_may_release_itself_while_it_is_closed() -> None:
    leases = SubjectLeases()
    lease = leases.open(ALICE, lambda: lease.release(), AccessQuota(streams=1), stream=True)
    assert leases.end(lambda _: False) == 1
    leases.open(ALICE, unused, AccessQuota(streams=1), stream=True)


def test_jobs_that_are_being_created_count() -> None:
    leases, quota = SubjectLeases(), AccessQuota(jobs=3)
    leases.check_creation("alice", 2, quota)
    leases.creating = 1
    with pytest.raises(QuotaExceededError, match="alice has 3 jobs"):
        leases.check_creation("alice", 2, quota)
    assert not leases.is_unused


@given(st.lists(st.integers(0, 90 * 4), max_size=30), st.integers(1, 5))
def test_no_minute_has_more_creations_than_the_quota(pauses: list[int], most: int) -> None:
    leases, quota = SubjectLeases(), AccessQuota(jobs_per_minute=most)
    created: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        for pause in pauses:
            clock.now += pause / 4  # exact: rounding is not what is tested
            try:
                leases.check_creation("alice", 0, quota)
            except QuotaExceededError as error:
                clock.now += error.retry_after_s or 0
                leases.check_creation("alice", 0, quota)  # the time that it names is enough
            leases.note_creation()
            created.append(clock.now)
    for first, last in zip(created, created[most:], strict=False):
        assert last - first >= 60


def test_a_subject_is_forgotten_a_minute_after_its_last_creation(clock: Clock) -> None:
    leases = SubjectLeases()
    assert leases.is_unused
    leases.note_creation()
    clock.now += 59.9
    assert not leases.is_unused
    clock.now += 0.1
    assert leases.is_unused


def test_a_quota_of_no_jobs(clock: Clock) -> None:
    for quota in (AccessQuota(jobs=0), AccessQuota(jobs_per_minute=0)):
        with pytest.raises(QuotaExceededError):
            SubjectLeases().check_creation("alice", 0, quota)
    with pytest.raises(QuotaExceededError):
        SubjectLeases().open(ALICE, unused, AccessQuota(streams=0), stream=True)
