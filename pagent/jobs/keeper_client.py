"""The agent's side of its keeper (``jobs/keeper``)."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pagent.errors import KeeperStartError
from pagent.jobs.supervisor import StartRequest, SupervisorClient
from pagent.jobs.tree import JobTree, Key
from pagent.jobs.trees import Trees

if sys.platform != "win32":
    from pagent.jobs.keeper import protocol

_log = logging.getLogger(__name__)

#: Imports the keeper without the package ``pagent``, which would be memory that is copied at each fork.
_PROGRAM: Final = (
    "import sys; package = type(sys)('pagent'); package.__path__ = [sys.argv[2]]; sys.modules['pagent'] = package; "
    "from pagent.jobs.keeper.main import main; main(int(sys.argv[1]))"
)
_PACKAGE: Final = str(Path(__file__).parents[1])

#: The part of the agent's environment that the keeper gets: where the interpreter's libraries are.
_PASSED_ON: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

#: Starts under way at a time, of a few descriptors each.
_STARTS_AT_ONCE: Final = 64


def keeper_command(descriptor: int) -> list[str]:
    """Return the command line of a keeper that serves the socket with this number."""
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, str(descriptor), _PACKAGE]


def _start_keeper(descriptor: int) -> subprocess.Popen[bytes]:
    """Start a keeper that serves the socket with this number. KeeperStartError, OSError."""
    try:
        return subprocess.Popen(
            keeper_command(descriptor),
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[descriptor],
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        # As an OSError it would be taken for one of the job's program.
        raise KeeperStartError(
            f"the agent cannot start its keeper: {sys.executable}: {error.strerror};"
            " was its installation moved or replaced? restart the agent"
        ) from None


class KeeperClient:
    """Starts supervisors. The process is started for the first one, and again if it has ended.

    ``record`` notes the keeper for the next agent, should this one be killed.
    """

    def __init__(self, trees: Trees, record: Callable[[Key], None]) -> None:
        # For life.
        self._trees = trees
        self._record = record
        self._loop = asyncio.get_running_loop()
        #: Held by each start under way: it bounds their number.
        self.turns: Final = asyncio.Semaphore(_STARTS_AT_ONCE)
        self._by_pid: dict[int, SupervisorClient] = {}
        # While it runs.
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def supervise(self, tree: JobTree, request: StartRequest) -> SupervisorClient:
        """Start the supervisor of a job's tree, with a first process. OSError if it cannot be started."""
        if self._socket is None:
            self._start()
        assert self._socket is not None
        ours, theirs = socket.socketpair()
        with theirs:
            supervisor = SupervisorClient(ours, tree, self._trees, self._by_pid)
            try:
                # First: the supervisor finds the request, and one report says that both processes exist.
                supervisor.start(request)
                socket.send_fds(self._socket, [b"s"], [theirs.fileno()])
            except (BrokenPipeError, ConnectionResetError):
                pass  # the end of our socket is reported as well
            except BaseException:
                supervisor.abandon()
                raise
        return supervisor

    async def answers(self, supervisor: SupervisorClient) -> bool:
        """Wait until a supervisor exists. Return False if its keeper has ended, so that nothing was started.

        OSError if the system refuses the process. TimeoutError if there is no answer: it may still be started.
        """
        keeper_process = self._process
        try:
            await supervisor.ready
        except (ConnectionError, TimeoutError) as error:
            if self._process is keeper_process:
                self._give_up()
            if isinstance(error, TimeoutError):
                raise
            return False
        return True

    def _start(self) -> None:
        if sys.platform == "win32":
            raise OSError(errno.ENOTSUP, "jobs need a Unix system")
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _start_keeper(theirs.fileno())
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        self._socket = ours
        self._loop.add_reader(ours, self._readable)
        if (key := self._trees.keeper_started(self._process.pid)) is not None:
            self._record(key)

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(1024 * protocol.REPORT.size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            _log.warning("the keeper has ended; the next job gets a new one")
            self._give_up()
            return
        whole = len(data) - len(data) % protocol.REPORT.size
        for kind, pid, status, _ in protocol.REPORT.iter_unpack(data[:whole]):
            if kind == protocol.EXITED and pid in self._by_pid:
                self._by_pid[pid].orphan_exited(pid, status)
            elif kind == protocol.EXITED:  # its fork may be in a report that is read in this iteration
                self._loop.call_soon(self._exited, pid, status)

    def _exited(self, pid: int, status: int) -> None:
        if (supervisor := self._by_pid.get(pid)) is not None:
            supervisor.orphan_exited(pid, status)

    def _give_up(self) -> None:
        """End a keeper that does not work any more. Its supervisors stay, and become children of the agent."""
        if (pid := self.close()) is not None:
            self._trees.keeper_ended(pid)

    def close(self) -> int | None:
        """End the keeper, all of whose jobs have ended. Return its pid, None if there is no keeper."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        process.wait()
        return process.pid
