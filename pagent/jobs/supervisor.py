"""The agent's side of ``jobs/keeper.py``: the keeper of an agent, and the supervisors of its jobs."""

from __future__ import annotations

import asyncio
import errno
import marshal
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pagent import limits
from pagent.jobs.tree import JobTree, Key, Trees
from pagent.runtime.tasks import retrieve_error

if sys.platform != "win32":
    from pagent.jobs import keeper

_PROGRAM: Final = str(Path(__file__).with_name("keeper.py"))

#: All that the keeper gets of the agent's environment: where the interpreter's libraries are.
_PASSED_ON: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

#: Starts under way at a time, of a few descriptors each; and how long one waits for a fork, which takes a millisecond.
_STARTS_AT_ONCE: Final = 64
_FORK_WAIT_S: Final = 10.0

#: SIGKILL: how a process is said to have ended whose supervisor was killed before it could tell.
_UNKNOWN_END: Final = -9


class StartError(OSError):
    """The system refuses a process. ``confining``: what confines it, and not its program or folder."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(number, os.strerror(number))
        self.confining: Final = step == keeper.CONFINE


class Child:
    """One process that was asked for.

    ``started`` is called once it is its program, ``ended`` after that with its return code (minus a signal's number).
    """

    def __init__(self, started: Callable[[Child], None], ended: Callable[[int], None]) -> None:
        # For life.
        self.started = started
        self.ended = ended
        #: Done once it is its program; StartError if it is not.
        self.running: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self.running.add_done_callback(retrieve_error)
        # Once it was forked.
        self.key: Key = (0, 0.0)

    @property
    def pid(self) -> int:
        return self.key[0]

    def settle(self, error: StartError | None) -> None:
        """Tell how the start went; its caller may have gone."""
        if self.running.done():
            return
        if error is None:
            self.running.set_result(None)
        else:
            self.running.set_exception(error)


class Keeper:
    """Starts supervisors. The process is started for the first one, and again if it has ended."""

    def __init__(self, trees: Trees) -> None:
        # For life.
        self._trees = trees
        #: To be held from the call of :meth:`supervise` to the first request: so many starts go on at a time.
        self.turns: Final = asyncio.Semaphore(_STARTS_AT_ONCE)
        # While it runs.
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    async def supervise(self, tree: JobTree) -> Supervisor:
        """Return the supervisor of a job's tree. OSError if there can be none, TimeoutError if none answers."""
        for _ in range(2):
            supervisor = self._begin(tree)
            keeper_process = self._process
            try:
                async with asyncio.timeout(_FORK_WAIT_S):
                    await supervisor.ready
                return supervisor
            except (ConnectionError, TimeoutError) as error:
                supervisor.close()
                if self._process is keeper_process:
                    self.close()
                if isinstance(error, TimeoutError):
                    raise
            except BaseException:
                supervisor.close()
                raise
        raise OSError(errno.EIO, "no process can be started: the keeper ends at once")

    def _begin(self, tree: JobTree) -> Supervisor:
        if self._socket is None:
            self._start()
        assert self._socket is not None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._socket, [b"s"], [theirs.fileno()])
        except (BrokenPipeError, ConnectionResetError):
            pass  # seen as the end of our socket as well
        except BaseException:
            ours.close()
            raise
        return Supervisor(ours, tree, self._trees)

    def _start(self) -> None:
        if sys.platform == "win32":
            raise OSError(errno.ENOTSUP, "jobs need a Unix system")
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-I", "-S", "-X", "utf8", _PROGRAM, str(theirs.fileno())]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        self._socket = ours
        self._trees.keepers.add(self._process.pid)

    def close(self) -> None:
        """End the keeper, which is just forking or waiting: it goes at once. Its supervisors stay."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Supervisor:
    """The control socket of one job's supervisor."""

    def __init__(self, control: socket.socket, tree: JobTree, trees: Trees) -> None:
        # For life.
        self._control = control
        self._tree = tree
        self._trees = trees
        self._loop = asyncio.get_running_loop()
        #: Done once there is one; ConnectionError if there is no keeper.
        self.ready: Final[asyncio.Future[None]] = self._loop.create_future()
        # While it is there.
        self._children: dict[int, Child] = {}
        self._count = 0
        self._input = b""
        self._empty = False
        self._closed = False
        control.setblocking(False)
        self._loop.add_reader(control, self._readable)

    @property
    def used(self) -> bool:
        """Was it asked for a process?"""
        return self._count > 0

    def start(self, plan: dict[str, Any], descriptors: Sequence[int], child: Child) -> None:
        """Ask for a process by a plan (see ``keeper``), with stdin, stdout, stderr and a working folder.

        OSError if it cannot be asked for.
        """
        if self._closed:
            raise OSError(errno.ESRCH, "the job has no supervisor any more")
        self._count += 1
        content = _in_a_file(plan)
        try:
            socket.send_fds(self._control, [keeper.REQUEST.pack(self._count)], [content, *descriptors])
        finally:
            os.close(content)
        self._children[self._count] = child

    def close(self) -> None:
        """Ask for no more. A supervisor that has started nothing ends."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._control)
            self._control.close()

    # --- reports ------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._input += data
        whole = len(self._input) - len(self._input) % keeper.REPORT.size
        reports = list(keeper.REPORT.iter_unpack(self._input[:whole]))
        self._input = self._input[whole:]
        # First of all, so that what hears of an end knows that nothing is left.
        if any(kind == keeper.EMPTY for kind, *_ in reports):
            self._empty = True
            self._tree.supervisor_ended(empty=True)
        for report in reports:
            self._reported(*report)
        if self._empty or not data:
            self._ended()

    def _reported(self, kind: int, run: int, number: int, extra: int) -> None:
        child = self._children.get(run)
        if kind == keeper.SUPERVISOR:
            self._tree.supervisor = self._key(number, extra)
            if not self.ready.done():
                self.ready.set_result(None)
        elif kind == keeper.FAILED and run == 0:
            if not self.ready.done():
                self.ready.set_exception(StartError(number, extra))
        elif child is None:
            return
        elif kind == keeper.FORKED:
            child.key = self._key(number, extra)
            self._tree.leads(*child.key)
        elif kind == keeper.STARTED:
            child.settle(None)
            child.started(child)
        elif kind == keeper.FAILED:
            del self._children[run]
            child.settle(StartError(number, extra))
        elif kind == keeper.EXITED:
            del self._children[run]
            child.ended(os.waitstatus_to_exitcode(number))

    def _key(self, pid: int, started: int) -> Key:
        """Of a process that has reported its start time, where it can know it."""
        if started == 0 and (process := self._trees.system.stat(pid)) is not None:
            return process.key
        return pid, started

    def _ended(self) -> None:
        self.close()
        if not self.ready.done():
            self.ready.set_exception(ConnectionResetError("there is no supervisor"))
            return
        if not self._empty:
            self._tree.supervisor_ended(empty=False)
        children, self._children = self._children, {}
        for child in children.values():
            if child.pid == 0:
                child.settle(StartError(errno.ESRCH, keeper.FORK))
                continue
            if not child.running.done():  # it may have killed the supervisor before that could say so
                child.settle(None)
                child.started(child)
            self._trees.awaited.add(child.pid)
            self._await_orphan(child)

    def _await_orphan(self, child: Child) -> None:
        """The supervisor of a child was killed: it is ours by now, or will be, and nothing tells of its end."""
        with suppress(ChildProcessError):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid != 0:
                self._trees.awaited.discard(child.pid)
                child.ended(os.waitstatus_to_exitcode(status))
                return
        process = self._trees.system.stat(child.pid)
        if process is None or process.key != child.key:
            self._trees.awaited.discard(child.pid)
            child.ended(_UNKNOWN_END)
        else:
            self._loop.call_later(limits.EXIT_POLL_S, self._await_orphan, child)


def _in_a_file(plan: dict[str, Any]) -> int:
    """A descriptor of a file without a name that holds the plan."""
    data = marshal.dumps(plan)
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("plan")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.write(descriptor, data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
