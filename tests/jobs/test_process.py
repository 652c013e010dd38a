"""Starting processes, on both loops and in both ways."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pagent.jobs import process
from pagent.jobs.output import Output
from pagent.jobs.process import has_pidfd, spawn
from tests.jobs.conftest import PATIENCE_S, PYTHON

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main, PATIENCE_S))

    return run


@pytest.fixture(params=["pidfd", "by loop"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "by loop":
        monkeypatch.setattr(process, "has_pidfd", lambda: False)
    elif not has_pidfd():
        pytest.skip("no pidfds here")
    return str(request.param)


class Child:
    """A process and what was told of it."""

    def __init__(self) -> None:
        self.pid = 0
        self.order: list[str] = []
        self.returncode: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def started(self, pid: int) -> None:
        self.pid = pid
        self.order.append("started")

    def ended(self, returncode: int) -> None:
        self.order.append("ended")
        self.returncode.set_result(returncode)


def reaped(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


async def start(args: list[str], cwd: Path, output: Output = (None, None), env: dict[str, str] | None = None) -> Child:
    child = Child()
    await spawn(args, os.environ | (env or {}), str(cwd), output, child.started, child.ended)
    assert child.order[0] == "started"
    return child


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("script", "returncode"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", -9)])
def test_the_end_is_told_once(run: Run, tmp_path: Path, script: str, returncode: int) -> None:
    async def main() -> None:
        child = await start(["sh", "-c", script], tmp_path)
        assert await child.returncode == returncode
        assert child.order == ["started", "ended"]
        assert reaped(child.pid)

    run(main())


@pytest.mark.usefixtures("way")
def test_what_the_process_finds(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
        folder = os.open(tmp_path, os.O_RDONLY)
        script = (
            "import os, sys; print(os.getcwd(), os.getsid(0) == os.getpid(), ascii(os.environ['ä']), os.read(0, 1))"
        )
        cwd = Path(f"/proc/self/fd/{folder}")
        child = await start([PYTHON, "-c", script], cwd, (out, out), env={"ä": "日本"})
        assert await child.returncode == 0
        os.close(folder)
        os.close(out)
        assert (tmp_path / "out").read_text() == f"{tmp_path} True '\\u65e5\\u672c' b''\n"

    run(main())


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("name", "number"), [("no-such-program", errno.ENOENT), ("./file", errno.EACCES), ("./no/file", errno.ENOENT)]
)
def test_a_program_that_cannot_be_started(run: Run, tmp_path: Path, name: str, number: int) -> None:
    async def main() -> None:
        (tmp_path / "file").write_text("not executable")
        child = Child()
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            await spawn([name], os.environ, str(tmp_path), (None, None), child.started, child.ended)
        assert caught.value.errno == number
        assert child.order == []

    run(main())


@pytest.mark.skipif(not has_pidfd(), reason="no pidfds here")
def test_no_other_descriptor_and_no_ignored_signal(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        inheritable = os.open(tmp_path, os.O_RDONLY)
        os.set_inheritable(inheritable, True)
        out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
        child = await start(
            ["sh", "-c", "grep SigIgn: /proc/self/status; readlink /proc/$$/fd/*; true"], tmp_path, (out, out)
        )
        assert await child.returncode == 0
        os.close(out)
        os.close(inheritable)
        ignored, *files = (tmp_path / "out").read_text().splitlines()
        assert {os.devnull, str(tmp_path / "out")} <= set(files)
        assert str(tmp_path) not in files
        assert not int(ignored.split()[1], 16) & 1 << (signal.SIGPIPE - 1)

    run(main())


@pytest.mark.skipif(not has_pidfd(), reason="no pidfds here")
def test_without_a_descriptor_to_watch_it_nothing_is_left(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def refuse(pid: int) -> int:
        pids.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        child = Child()
        monkeypatch.setattr(os, "pidfd_open", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            await spawn(["sleep", "1000"], os.environ, str(tmp_path), (None, None), child.started, child.ended)
        assert child.order == []
        assert reaped(pids[0])

    run(main())


def test_output_of_ours_is_inherited(capfd: pytest.CaptureFixture[str], run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        child = await start(["sh", "-c", "echo out; echo err >&2"], tmp_path)
        await child.returncode

    run(main())
    assert capfd.readouterr() == ("out\n", "err\n")
