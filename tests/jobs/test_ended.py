from __future__ import annotations

from pathlib import Path

from pagent import limits
from pagent.jobs.ended import EndedJobs, stderr_of
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.jobs.notes import NoteBudget
from pagent.jobs.sandbox import Sandbox
from tests.jobs.conftest import Running, owner


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_removed_job_is_remembered(manager: JobManager, running: Running) -> None:
    job = await running("echo one >&2; echo two >&2; exit 3")
    await manager.wait(job)
    await manager.remove(job, owner("c9"))
    (found,) = manager.ended.of_realm("realm")
    info = found.info
    assert (info["uid"], info["state"], info["exit_code"], info["stderr"]) == (job.uid, "CLOSED", 3, b"one\ntwo\n")
    assert info["removed_by"] == {"direction": "SERVER", "uid": b"router", "name": "a router"}
    assert info["removed_at"] >= info["finished_at"]
    assert manager.ended.of_realm("another") == []


async def test_a_job_that_runs_is_remembered_as_it_ended(manager: JobManager, running: Running) -> None:
    job = await running("trap 'echo ending >&2; exit 5' TERM; echo ready > ready; while :; do sleep 0.01; done")
    while not (job.sandbox.path / "ready").exists():
        await manager.listening(job)
    await manager.remove(job)
    info = manager.ended.of_realm("realm")[0].info
    assert (info["exit_code"], info["removed_by"], info["killed_by"]) == (5, None, None)
    assert info["error"] == "the client that it belongs to has no link"
    assert info["stderr"].endswith(b"ending\n")  # the shell may report its own child


async def test_the_peer_that_ends_a_job_is_remembered(manager: JobManager, running: Running) -> None:
    peer = {"direction": "SERVER", "uid": b"router", "name": "a router"}
    removed, killed, over = await running("exec sleep 1000"), await running("exec sleep 1000"), await running("exit 3")
    await manager.wait(over)
    await manager.kill(killed, "KILL", by=owner("c9"))
    for job in (removed, killed, over):
        await manager.remove(job, owner("c9"))
    infos = [found.info for found in manager.ended.of_realm("realm")]
    assert [(info["killed_by"], info["error"]) for info in infos] == [(peer, None), (peer, None), (None, None)]


async def test_the_linger_time_of_a_job_is_its_reason(manager: JobManager) -> None:
    job = manager.create(owner(), linger=0.01)
    await manager.start(job, ["sleep", "1000"], None, port_expected_count=0)
    await manager.drop_owner(owner())
    while not (found := manager.ended.of_realm("realm")):
        await manager.listening(job)
    assert found[0].info["error"].endswith("has no link, and its linger time of 0.01 s has passed")


async def test_a_job_that_was_never_started(manager: JobManager) -> None:
    job = manager.create(owner())
    await manager.remove(job)
    info = manager.ended.of_realm("realm")[0].info
    assert (info["state"], info["stderr"], info["exit_code"]) == ("CLOSED", b"", None)


async def test_only_the_last_are_remembered(manager: JobManager) -> None:
    ended = EndedJobs()
    jobs = [manager.create(owner()) for _ in range(3)]
    for _ in range(limits.ENDED_JOBS):
        ended.add(jobs[0], b"")
    for job in jobs:
        ended.add(job, b"")
    ended.add(jobs[0], b"again")
    assert [found.info["uid"] for found in ended.of_realm("realm")] == [jobs[1].uid, jobs[2].uid, jobs[0].uid]
    ended.forget(jobs[1].uid)
    assert len(ended.of_realm("realm")) == 2


async def test_a_day_later_they_are_forgotten(manager: JobManager) -> None:
    clock = Clock()
    ended = EndedJobs(clock)
    ended.add(manager.create(owner()), b"")
    clock.now += limits.ENDED_JOBS_S - 1
    assert len(ended.of_realm("realm")) == 1
    clock.now += 2
    assert ended.of_realm("realm") == []


async def test_no_more_than_the_limit(manager: JobManager, tmp_path: Path) -> None:
    ended = EndedJobs()
    job = manager.create(owner())
    for number in range(limits.ENDED_JOBS + 5):
        ended.add(
            Job(f"{number}", job.terms, job.owner, job.sandbox, lambda: (0, 0), NoteBudget(), manager.registry), b""
        )
    found = ended.of_realm("realm")
    assert (len(found), found[0].info["uid"]) == (limits.ENDED_JOBS, "5")


def test_the_end_of_the_standard_error(tmp_path: Path) -> None:
    sandbox = Sandbox.create(tmp_path, "uid")
    assert stderr_of(sandbox) == b""
    descriptor = sandbox.open_output(".pagent.stderr")
    with open(descriptor, "wb") as file:
        file.write(b"a" * 5000 + b"b" * 4000)
    assert stderr_of(sandbox) == b"a" * 96 + b"b" * 4000
    sandbox.remove()
    assert stderr_of(sandbox) == b""
