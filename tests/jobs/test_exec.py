"""A second process in the sandbox: what its user hears, and that nothing is left of one that could not be had."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from typing import Any

import pytest

from pagent.errors import JobInvalidStateError
from pagent.jobs.exec import Exec
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.limits import EXEC_INPUT_MAX
from tests.jobs.conftest import PATIENCE_S, Running, gone, owner

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs pidfds and /proc")


class Listener:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.output = b""
        self.blocked: list[bool] = []
        self.code: int | None = None
        self.ended = asyncio.Event()
        self.heard = asyncio.Event()

    def exec_output(self, data: bytes) -> None:
        assert self.code is None, "no output behind the end"
        self.output += data
        self.heard.set()

    def exec_input(self, blocked: bool) -> None:
        self.blocked.append(blocked)
        self.heard.set()

    def exec_ended(self, code: int) -> None:
        assert self.code is None, "it ends once"
        self.code = code
        self.ended.set()

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition(self):
                self.heard.clear()
                await self.heard.wait()


@pytest.fixture
async def job(running: Running) -> Job:
    return await running("exec sleep 1000")


def execute(manager: JobManager, job: Job, *args: str, tty: bool = False) -> tuple[Exec, Listener]:
    listener = Listener()
    return manager.execute(job, listener, list(args), None, tty=tty, rows=24, cols=80), listener


async def ended(listener: Listener) -> int:
    async with asyncio.timeout(PATIENCE_S):
        await listener.ended.wait()
    assert listener.code is not None
    return listener.code


@pytest.fixture(params=["told", "looked for"])
def end(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the end is noticed: by a descriptor, or where there is none for that."""
    if request.param == "looked for":
        monkeypatch.setattr("pagent.jobs.exec.has_pidfd", lambda: False)


@pytest.mark.usefixtures("end")
@pytest.mark.parametrize("tty", [False, True])
async def test_no_descriptor_is_left(manager: JobManager, job: Job, tty: bool) -> None:
    before = os.listdir("/proc/self/fd")
    _, listener = execute(manager, job, "echo", "here", tty=tty)
    assert await ended(listener) == 0
    assert listener.output.strip() == b"here"
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("tty", [False, True])
async def test_one_that_cannot_be_watched_is_gone_again(
    manager: JobManager, job: Job, tty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.listdir("/proc/self/fd")
    spawned: list[int] = []

    def none_left(pid: int) -> int:
        spawned.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", none_left)
        with pytest.raises(OSError, match="Too many open files"):
            execute(manager, job, "sleep", "1000", tty=tty)
    with pytest.raises(ProcessLookupError):
        os.kill(spawned[0], 0)
    assert os.listdir("/proc/self/fd") == before
    assert [process.pid for process in manager._forest.members(job.uid)] == [job.pid]


async def test_input_is_held_and_released(manager: JobManager, job: Job) -> None:
    process, listener = execute(manager, job, "sh", "-c", "read x; cat | wc -c")
    process.write(bytes(EXEC_INPUT_MAX * 4))
    await listener.until(lambda it: it.blocked == [True])
    process.write(b"\n")
    process.write(b"12345")
    process.end_input()
    assert await ended(listener) == 0
    assert listener.blocked[-1] is False
    assert listener.output.strip() == b"5"


async def test_output_is_paused(manager: JobManager, job: Job) -> None:
    process, listener = execute(manager, job, "sh", "-c", "echo one; read x; echo two")
    await listener.until(lambda it: it.output == b"one\n")
    process.pause()
    process.write(b"\n")
    assert await ended(listener) == 0  # what it has written is there at its end all the same
    assert listener.output == b"one\ntwo\n"


async def test_a_killed_one_is_heard_of_no_more(manager: JobManager, job: Job) -> None:
    process, listener = execute(manager, job, "sh", "-c", "sleep 1000 & echo $!; wait")
    await listener.until(lambda it: it.output.endswith(b"\n"))
    process.kill()
    await gone(int(listener.output))
    await gone(process._pid)
    process.kill()
    process.write(b"nothing")
    process.end_input()
    process.resize(1, 1)
    assert listener.code is None


async def test_one_on_a_terminal_is_killed_behind_its_end(manager: JobManager, job: Job) -> None:
    before = os.listdir("/proc/self/fd")
    process, listener = execute(manager, job, "sh", "-c", "echo one; read x; echo two", tty=True)
    await listener.until(lambda it: it.output == b"one\r\n")
    process.pause()
    process.write(b"\n")
    async with asyncio.timeout(PATIENCE_S):
        while process._exited is None:  # noqa: ASYNC110 - its user is told behind the output only
            await asyncio.sleep(0.005)
    process.kill()
    assert os.listdir("/proc/self/fd") == before


async def test_only_a_job_that_runs_has_one(manager: JobManager, running: Running) -> None:
    new = manager.create(owner())
    with pytest.raises(JobInvalidStateError, match="NEW"):
        execute(manager, new, "true")
    over = await running("exit 0")
    await manager.wait(over)
    with pytest.raises(JobInvalidStateError, match="FINISHED"):
        execute(manager, over, "true")
