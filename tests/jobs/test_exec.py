"""A second process in the sandbox: the events of its user, and the rest of one that could not be started."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from pagent.errors import JobInvalidStateError
from pagent.jobs import drain
from pagent.jobs.drain import EXEC_QUIET_S
from pagent.jobs.exec import ExecProcess
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.limits import EXEC_INPUT_MAX
from tests.jobs.conftest import PATIENCE_S, Running, gone, is_alive, owner
from tests.kit.descriptors import left_open, targets

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


class Listener:
    """Records the events of a process."""

    def __init__(self) -> None:
        self.output = b""
        self.blocked: list[bool] = []
        self.code: int | None = None
        self.ended = asyncio.Event()
        self.heard = asyncio.Event()

    def exec_output(self, data: bytes) -> None:
        assert self.code is None, "no output after the end"
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


async def execute(manager: JobManager, job: Job, *args: str, tty: bool = False) -> tuple[ExecProcess, Listener]:
    listener = Listener()
    return await manager.execute(job, listener, list(args), None, tty=tty, rows=24, cols=80), listener


async def process_exits(process: ExecProcess) -> None:
    """Wait until it has ended; its user is notified of that after the output only."""
    async with asyncio.timeout(PATIENCE_S):
        while process.exit_code is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def ended(listener: Listener) -> int:
    async with asyncio.timeout(PATIENCE_S):
        await listener.ended.wait()
    assert listener.code is not None
    return listener.code


@pytest.mark.parametrize("tty", [False, True])
async def test_no_descriptor_is_left(manager: JobManager, job: Job, tty: bool) -> None:
    before = targets()
    _, listener = await execute(manager, job, "echo", "here", tty=tty)
    assert await ended(listener) == 0
    assert listener.output.strip() == b"here"
    assert left_open(before) == {}


@pytest.mark.parametrize("tty", [False, True])
async def test_nothing_is_left_of_one_that_cannot_be_started(manager: JobManager, job: Job, tty: bool) -> None:
    before = targets()
    with pytest.raises(FileNotFoundError, match="'no-such-program'"):
        await execute(manager, job, "no-such-program", tty=tty)
    assert left_open(before) == {}
    assert job.pid is not None
    assert is_alive(job.pid)


async def test_input_is_held_and_released(manager: JobManager, job: Job) -> None:
    process, listener = await execute(manager, job, "sh", "-c", "read x; cat | wc -c")
    process.write(bytes(EXEC_INPUT_MAX * 4))
    await listener.until(lambda it: it.blocked == [True])
    process.write(b"\n")
    process.write(b"12345")
    process.end_input()
    assert await ended(listener) == 0
    assert listener.blocked[-1] is False
    assert listener.output.strip() == b"5"


@pytest.mark.parametrize("tty", [False, True])
async def test_nothing_ends_while_its_output_is_paused(manager: JobManager, job: Job, tty: bool) -> None:
    process, listener = await execute(manager, job, "sh", "-c", "echo one; read x; echo two", tty=tty)
    await listener.until(lambda it: it.output.endswith(b"\n"))
    process.pause()
    process.write(b"\n")
    await process_exits(process)
    await asyncio.sleep(2 * EXEC_QUIET_S)  # an end that does not come has no event
    assert listener.code is None
    process.resume()
    assert await ended(listener) == 0
    assert listener.output.split() == [b"one", b"two"]


@pytest.fixture
def until_the_end_of_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read until the last process has closed the output, however slow the machine is."""
    monkeypatch.setattr(drain, "EXEC_QUIET_S", 3600.0)


@pytest.mark.usefixtures("until_the_end_of_file")
@pytest.mark.parametrize("tty", [False, True])
async def test_what_a_pipeline_hands_on_after_the_exit_is_there(manager: JobManager, job: Job, tty: bool) -> None:
    # At the exit of its leader the kernel sends HUP to the foreground of a terminal.
    script = "trap '' HUP; exec > >(sleep 0.2; tee log); seq 20000; exit 3"
    _, listener = await execute(manager, job, "bash", "-c", script, tty=tty)
    assert await ended(listener) == 3
    assert listener.output.split() == [b"%d" % number for number in range(1, 20001)]


@pytest.mark.usefixtures("until_the_end_of_file")
async def test_pieces_after_the_exit_are_output_as_well(manager: JobManager, job: Job) -> None:
    script = "(for i in 1 2 3 4 5; do sleep 0.05; echo $i; done) & echo 0"
    _, listener = await execute(manager, job, "bash", "-c", script)
    assert await ended(listener) == 0
    assert listener.output.split() == [b"0", b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("tty", [False, True])
async def test_a_silent_child_in_the_background_does_not_hold_up_the_end(
    manager: JobManager, job: Job, tty: bool
) -> None:
    _, listener = await execute(manager, job, "sh", "-c", "{ trap '' HUP; sleep 1000 & } ; echo done", tty=tty)
    assert await ended(listener) == 0
    assert listener.output.strip() == b"done"


async def test_a_terminal_may_be_closed_and_opened_again(manager: JobManager, job: Job) -> None:
    script = "exec 3>&- <&- >&- 2>&-; sleep 0.3; echo again > /dev/tty; exit 5"
    _, listener = await execute(manager, job, "sh", "-c", script, tty=True)
    assert await ended(listener) == 5
    assert listener.output == b"again\r\n"


async def test_split_outputs(manager: JobManager, job: Job) -> None:
    listener = Listener()
    script = "echo one; read x; echo two >&2; read x; echo three; exec >&-; read x; echo four >&2"
    command = ["sh", "-c", script]
    process = await manager.execute(job, listener, command, None, tty=False, rows=24, cols=80, split=True)
    for text in (b"one\n", b"two\n", b"three\n"):
        await listener.until(lambda it, text=text: it.output.endswith(text))
        process.write(b"\n")
    assert await ended(listener) == 0
    assert listener.output == b"\1one\n\2two\n\1three\n\2four\n"


async def test_outputs_of_a_terminal_are_not_split(manager: JobManager, job: Job) -> None:
    listener = Listener()
    command = ["sh", "-c", "stty -echo; echo one; read x; echo two >&2"]
    process = await manager.execute(job, listener, command, None, tty=True, rows=24, cols=80, split=True)
    await listener.until(lambda it: it.output.endswith(b"one\r\n"))
    process.write(b"\n")
    assert await ended(listener) == 0
    assert listener.output == b"\1one\r\n\1two\r\n"


async def test_a_killed_one_is_heard_of_no_more(manager: JobManager, job: Job) -> None:
    process, listener = await execute(manager, job, "sh", "-c", "sleep 1000 & echo $!; wait")
    await listener.until(lambda it: it.output.endswith(b"\n"))
    process.kill()
    await gone(int(listener.output))
    process.kill()
    process.write(b"nothing")
    process.end_input()
    process.resize(1, 1)
    assert listener.code is None


async def test_one_on_a_terminal_is_killed_after_its_end(manager: JobManager, job: Job) -> None:
    before = targets()
    process, listener = await execute(manager, job, "sh", "-c", "echo one; read x; echo two", tty=True)
    await listener.until(lambda it: it.output == b"one\r\n")
    process.pause()
    process.write(b"\n")
    await process_exits(process)
    process.kill()
    assert left_open(before) == {}


async def test_only_a_job_that_runs_has_one(manager: JobManager, running: Running) -> None:
    new = manager.create(owner())
    with pytest.raises(JobInvalidStateError, match="NEW"):
        await execute(manager, new, "true")
    over = await running("exit 0")
    await manager.wait(over)
    with pytest.raises(JobInvalidStateError, match="FINISHED"):
        await execute(manager, over, "true")
