from __future__ import annotations

import pytest

from pagent import limits
from pagent.errors import JobInvalidStateError, JobNotFoundError
from pagent.jobs import registry as registry_module
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from tests.jobs.conftest import owner

UID = "0123456789abcdef" * 2


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def removed(manager: JobManager, job: Job) -> None:
    await manager.remove(job)


async def test_a_repeated_creation_is_the_same_job(manager: JobManager) -> None:
    job = manager.create(owner(), "first", uid=UID, labels={"a": "b"})
    assert job.uid == UID
    assert manager.create(owner(), "second", uid=UID) is job
    assert manager.create(owner("c2"), uid=UID) is job
    assert job.owner.connection == "c1"
    assert (job.name, job.info()["labels"]) == ("first", {"a": "b"})
    assert manager.jobs() == [job]


async def test_a_wrong_argument_of_a_repeated_creation_is_an_error(manager: JobManager) -> None:
    manager.create(owner(), uid=UID)
    with pytest.raises(TypeError):
        manager.create(owner(), uid=UID, labels=1)


async def test_a_uid_of_another_realm_is_refused(manager: JobManager) -> None:
    job = manager.create(owner(), uid=UID)
    with pytest.raises(JobInvalidStateError, match="in use"):
        manager.create(owner("c2", "another"), uid=UID)
    with pytest.raises(JobNotFoundError):
        manager.get(UID, owner("c2", "another"))
    assert manager.get(UID, owner()) is job


@pytest.mark.parametrize("realm", ["realm", "another"])
async def test_the_uid_of_a_removed_job_is_refused(manager: JobManager, realm: str) -> None:
    await removed(manager, manager.create(owner(), uid=UID))
    with pytest.raises(JobInvalidStateError, match="was removed"):
        manager.create(owner("c2", realm), uid=UID)
    chosen_by_the_agent = manager.create(owner()).uid
    await removed(manager, manager.get(chosen_by_the_agent, owner()))
    with pytest.raises(JobInvalidStateError, match="was removed"):
        manager.create(owner(), uid=chosen_by_the_agent)


async def test_a_repeated_creation_in_a_cordoned_agent(manager: JobManager) -> None:
    job = manager.create(owner(), uid=UID)
    manager.admission.cordon(True)
    assert manager.create(owner(), uid=UID, heeds_cordon=True) is job
    with pytest.raises(JobInvalidStateError, match="cordoned"):
        manager.create(owner(), heeds_cordon=True)
    manager.create(owner())


async def test_vacant_while_there_are_no_jobs(manager: JobManager) -> None:
    registry = manager.registry
    began = registry.vacant_since
    assert registry.vacant.is_set()
    jobs = [manager.create(owner("one"), "job") for _ in range(2)]
    await manager.remove(jobs[0])
    assert not registry.vacant.is_set()
    await manager.remove(jobs[1])
    assert registry.vacant.is_set()
    assert registry.vacant_since > began


def test_a_removed_uid_is_forgotten_after_some_minutes() -> None:
    clock = Clock()
    uids = registry_module.RemovedUids(clock)
    uids.add("a")
    clock.now += limits.REMOVED_UIDS_S - 1
    uids.add("b")
    assert "a" in uids
    clock.now += 2
    assert "a" not in uids
    assert "b" in uids


def test_a_uid_that_is_removed_twice_is_remembered_from_the_second_time() -> None:
    clock = Clock()
    uids = registry_module.RemovedUids(clock)
    uids.add("a")
    clock.now += limits.REMOVED_UIDS_S - 1
    uids.add("a")
    clock.now += 2
    assert "a" in uids


def test_removed_uids_are_bounded() -> None:
    uids = registry_module.RemovedUids(Clock())
    for number in range(limits.REMOVED_UIDS + 1):
        uids.add(str(number))
    assert "0" not in uids
    assert "1" in uids
    assert str(limits.REMOVED_UIDS) in uids


async def test_a_watcher_is_notified_of_its_realm_only(manager: JobManager) -> None:
    mine = manager.create(owner())
    with manager.registry.watching("realm") as watcher, manager.registry.watching("another") as other:
        assert watcher.next() is None
        manager.adopt(mine, owner("c2"))
        manager.registry.host_changed()
        await removed(manager, manager.create(owner("c3", "a third")))
        message = watcher.next()
        assert message is not None
        assert message["job"]["uid"] == mine.uid
        assert (watcher.next(), other.next()) == (None, None)
        assert (watcher.take_host(), other.take_host()) == (True, True)
    manager.adopt(mine, owner("c1"))
    assert watcher.next() is None


async def test_the_end_of_a_removed_job_is_no_change(manager: JobManager) -> None:
    job = manager.create(owner())
    await manager.start(job, ["sleep", "1000"], None, port_expected_count=0)
    with manager.registry.watching("realm") as watcher:
        assert watcher.page([job])[0]["state"] == "RUNNING"
        await removed(manager, job)
        assert watcher.next() == {"removed": job.uid}
        assert watcher.next() is None
