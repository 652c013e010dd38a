"""The work of ``pagent exec``: join a process in a job to the input, output and terminal of this process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from pagent.cli import terminal
from pagent.cli.failure import EXIT_FAILED, start_failure
from pagent.cli.naming import find_job
from pagent.cli.standard_input import input_chunks
from pagent.cli.terminal import say
from pagent.client import AgentClient, RemoteExec
from pagent.errors import CallError, LinkError, MethodError
from pagent.runtime.tasks import TaskOwner

_SIGNALLED: Final = 128
#: The byte before each piece of standard error.
_STDERR: Final = 2


@dataclass(frozen=True)
class ExecRequest:
    """The arguments of ``pagent exec``."""

    command: list[str]
    environment: dict[str, str]
    has_input: bool
    has_terminal: bool


async def run_exec(client: AgentClient, name: str, request: ExecRequest) -> int:
    """Run a command in a job, and return its exit code."""
    job = await find_job(client, name)
    if request.has_terminal and not _is_terminal(0 if request.has_input else 1):
        say("-t is not used: the standard input of this command is no terminal")
        request = replace(request, has_terminal=False)
    environment = dict(request.environment)
    if request.has_terminal:
        environment.setdefault("TERM", os.environ.get("TERM", "xterm"))
    size = _window() if request.has_terminal else os.terminal_size((80, 24))
    execution = job.exec(
        request.command,
        environment,
        tty=request.has_terminal,
        rows=size.lines,
        cols=size.columns,
        split=not request.has_terminal,
    )
    try:
        async with execution as process:
            return await _joined(process, request)
    except MethodError as error:
        raise start_failure(error, request.command[0], None) from None


async def _joined(process: RemoteExec, request: ExecRequest) -> int:
    """Copy input and output until the process has ended; return its exit code."""
    tasks = TaskOwner("input")
    is_raw = request.has_terminal and request.has_input
    with _raw_terminal() if is_raw else _unchanged(), _following_size(process, tasks, request.has_terminal):
        if request.has_input:
            tasks.start(_copy_input(process), name="input")
        elif not request.has_terminal:
            tasks.start(process.end_input(), name="end of input")
        try:
            failed = await _copy_output(process, split=not request.has_terminal)
            code = await process.wait()
        finally:
            await tasks.close()
    code = code if code >= 0 else _SIGNALLED - code
    return code or (EXIT_FAILED if failed else 0)


async def _copy_input(process: RemoteExec) -> None:
    with suppress(CallError, LinkError):  # the process has ended, which its output reports
        async for data in input_chunks():
            await process.write(data)
        await process.end_input()


async def _copy_output(process: RemoteExec, *, split: bool) -> bool:
    """Write the output of a process; return whether it could not be written."""
    async for data in process:
        fd, text = (2 if data[0] == _STDERR else 1, data[1:]) if split else (1, data)
        try:
            await terminal.write(fd, text)
        except BrokenPipeError:
            return False  # its reader wants no more: the process is ended
        except OSError as error:
            say(f"the output cannot be written: {error.strerror}")
            return True
    return False


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


@contextmanager
def _unchanged() -> Iterator[None]:
    yield


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Let the terminal pass each key on as it is, and restore it after the block."""
    import termios
    import tty

    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _window() -> os.terminal_size:
    """Return the size of this terminal itself: COLUMNS and LINES may be those of another one."""
    return os.get_terminal_size(0 if _is_terminal(0) else 1)


@contextmanager
def _following_size(process: RemoteExec, tasks: TaskOwner, wanted: bool) -> Iterator[None]:
    """Give the process's terminal the size of this one, at each change."""
    if not wanted or not hasattr(signal, "SIGWINCH"):
        yield
        return
    loop = asyncio.get_running_loop()

    async def resize() -> None:
        size = _window()
        with suppress(CallError, LinkError):
            await process.resize(size.lines, size.columns)

    loop.add_signal_handler(signal.SIGWINCH, lambda: tasks.start(resize(), name="resize"))
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
