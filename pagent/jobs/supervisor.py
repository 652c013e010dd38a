"""The agent's side of a job's supervisor (``jobs/keeper``)."""

from __future__ import annotations

import asyncio
import errno
import marshal
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pagent.jobs.system import EXIT_POLL_S
from pagent.jobs.tree import JobTree, Key
from pagent.jobs.trees import Trees
from pagent.runtime.silence import SilenceTimer
from pagent.runtime.tasks import retrieve_error

if sys.platform != "win32":
    from pagent.jobs.keeper import protocol

#: Seconds that a start waits for its supervisor, which is forked within a millisecond.
_FORK_WAIT_S: Final = 10.0

#: SIGKILL as a status of waitpid(2), for processes whose end was not reported.
_UNKNOWN_END: Final = 9


class StartError(OSError):
    """A process could not be started.

    ``confining``: because of its confinement. ``entering``: because of its working folder. Otherwise because of its
    program, or because the system allows no further process.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(number, os.strerror(number))
        self.confining: Final = step == protocol.CONFINE
        self.entering: Final = step == protocol.ENTER


class Child:
    """One process whose start was requested.

    ``forked`` is called once it exists and has a key; ``started`` once it is its program; ``ended`` after that, with
    its return code (minus a signal's number).
    """

    def __init__(
        self,
        ended: Callable[[int], None],
        *,
        forked: Callable[[Child], None] = lambda _: None,
        started: Callable[[Child], None] = lambda _: None,
    ) -> None:
        # For life.
        self.forked: Final = forked
        self.started: Final = started
        self.ended: Final = ended
        #: Done once it is its program; StartError if it is not.
        self.running: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self.running.add_done_callback(retrieve_error)
        # While it starts.
        #: Readable once it is its program, or has failed.
        self.settled = -1
        # Once it was forked.
        self.key: Key = (0, 0.0)

    @property
    def pid(self) -> int:
        return self.key[0]

    def settle(self, error: StartError | None) -> None:
        """End the wait for the start, unless the caller has stopped waiting."""
        if self.running.done():
            return
        if error is None:
            self.running.set_result(None)
        else:
            self.running.set_exception(error)


class StartRequest(NamedTuple):
    """A process to start by a plan (``keeper/protocol.py``), with stdin, stdout, stderr and a working folder."""

    plan: dict[str, Any]
    descriptors: Sequence[int]
    child: Child


class SupervisorClient:
    """The control socket of one job's supervisor, whose process may not exist yet.

    ``by_pid``: an entry is kept for each process that the supervisor has started.
    """

    def __init__(
        self, control: socket.socket, tree: JobTree, trees: Trees, by_pid: dict[int, SupervisorClient]
    ) -> None:
        # For life.
        self._control = control
        self._tree = tree
        self._trees = trees
        self._by_pid = by_pid
        self._loop = asyncio.get_running_loop()
        #: Done once there is a supervisor; ConnectionError if there is no keeper, TimeoutError if there is no answer.
        self.ready: Final[asyncio.Future[None]] = self._loop.create_future()
        self.ready.add_done_callback(retrieve_error)
        # Until it has answered.
        self._answered = False
        self._patience = SilenceTimer(_FORK_WAIT_S, self._settle, TimeoutError("no supervisor answers"))
        # While it is there.
        self._children: dict[int, Child] = {}
        self._count = 0
        self._input = b""
        self._empty = False
        self._closed = False
        control.setblocking(False)
        self._loop.add_reader(control, self._readable)
        tree.supervisor_requested()

    def start(self, request: StartRequest) -> None:
        """Request the start of a process. OSError if the request cannot be sent."""
        if self._closed:
            raise OSError(errno.ESRCH, "the job's supervisor has ended")
        self._count += 1
        run = self._count
        plan = _in_a_file(request.plan)
        settled = settling = -1
        try:
            settled, settling = os.pipe()
            socket.send_fds(self._control, [protocol.REQUEST.pack(run)], [plan, *request.descriptors, settling])
        except BaseException:
            _close(settled)
            raise
        finally:
            _close(plan)
            _close(settling)
        os.set_blocking(settled, False)
        request.child.settled = settled
        self._children[run] = request.child
        self._loop.add_reader(settled, self._settled, run)

    def close(self) -> None:
        """Request no more processes. A supervisor that has started nothing ends."""
        if not self._closed:
            self._closed = True
            self._patience.cancel()
            self._loop.remove_reader(self._control)
            self._control.close()
            for child in self._children.values():
                self._by_pid.pop(child.pid, None)

    def abandon(self) -> None:
        """Request no more processes, and stop waiting for starts and ends."""
        self.close()
        for run in list(self._children):
            self._forget(run)

    # --- starts -------------------------------------------------------------------------------------

    def _settled(self, run: int) -> None:
        """Handle a child that has become its program, or has failed to."""
        child = self._children[run]
        if child.pid == 0:
            self._readable()  # it was reported before it was released
        if self._children.get(run) is not child or child.settled < 0:
            return
        data = self._read_settled(child)
        if len(data) == protocol.FAILURE.size:
            self._forget(run).settle(StartError(*protocol.FAILURE.unpack(data)))
        elif child.pid != 0:  # otherwise no child was forked: another report says why
            child.settle(None)
            child.started(child)

    def _read_settled(self, child: Child) -> bytes:
        settled, child.settled = child.settled, -1
        self._loop.remove_reader(settled)
        try:
            return os.read(settled, protocol.FAILURE.size)
        except BlockingIOError:
            return b""
        finally:
            os.close(settled)

    # --- reports ------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._input += data
        whole = len(self._input) - len(self._input) % protocol.REPORT.size
        reports = list(protocol.REPORT.iter_unpack(self._input[:whole]))
        self._input = self._input[whole:]
        # First of all, so that callbacks at an end find the tree over.
        if any(kind == protocol.EMPTY for kind, *_ in reports):
            self._empty = True
            self._tree.supervisor_ended(empty=True)
        for report in reports:
            self._reported(*report)
        if self._empty or not data:
            self._ended()

    def _reported(self, kind: int, run: int, number: int, extra: int) -> None:
        child = self._children.get(run)
        if kind == protocol.SUPERVISOR:
            self._tree.supervisor_started(self._key(number, extra))
            self._answer(None)
        elif kind == protocol.FAILED and run == 0:
            self._answer(StartError(number, extra))
        elif child is None:
            return
        elif kind == protocol.FORKED:
            child.key = self._key(number, extra)
            self._by_pid[number] = self
            self._tree.leads(*child.key)
            child.forked(child)
        elif kind == protocol.FAILED:
            self._forget(run).settle(StartError(number, extra))
        elif kind == protocol.EXITED:
            self._exited(run, number)

    def _answer(self, error: OSError | None) -> None:
        """Note that the supervisor exists, or that there will be none."""
        self._answered = True
        if error is not None:
            self._tree.supervisor_failed()
        self._settle(error)

    def _settle(self, error: OSError | None) -> None:
        self._patience.cancel()
        if self.ready.done():  # too late, or the caller has stopped waiting
            return
        if error is None:
            self.ready.set_result(None)
        else:
            self.ready.set_exception(error)

    def _exited(self, run: int, status: int) -> None:
        if self._children[run].settled >= 0:
            self._settled(run)
        if run in self._children:  # it has not failed to start
            self._forget(run).ended(os.waitstatus_to_exitcode(status))

    def _forget(self, run: int) -> Child:
        child = self._children.pop(run)
        if child.settled >= 0:
            self._read_settled(child)
        self._by_pid.pop(child.pid, None)
        self._trees.awaited.discard(child.pid)
        return child

    def _key(self, pid: int, started: int) -> Key:
        """Return the key of a process that has reported its start time, where it can know it."""
        if started == 0 and (process := self._trees.system.stat(pid)) is not None:
            return process.key
        return pid, started

    # --- a supervisor that was killed ---------------------------------------------------------------

    def _ended(self) -> None:
        self.close()
        if not self._answered:
            # Its children are not failed: another supervisor may be requested to start them.
            for run in list(self._children):
                self._forget(run)
            self._answer(ConnectionResetError("there is no supervisor"))
            return
        if not self._empty:
            self._tree.supervisor_ended(empty=False)
        for run, child in list(self._children.items()):
            if child.pid == 0:
                self._forget(run).settle(StartError(errno.ESRCH, protocol.FORK))
            else:
                self._by_pid[child.pid] = self
                self._trees.awaited.add(child.pid)
                self._await_orphan(run, child)

    def orphan_exited(self, pid: int, status: int) -> None:
        """Note the end of a process that this supervisor has started and the keeper has adopted."""
        for run, child in list(self._children.items()):
            if child.pid == pid:
                self._exited(run, status)

    def _await_orphan(self, run: int, child: Child, *, missed: bool = False) -> None:
        """Check for the end of a process, in case it is not reported. ``missed``: the last check did not find it."""
        if self._children.get(run) is not child:
            return
        if (status := self._trees.reap(child.pid)) is not None:
            self.orphan_exited(child.pid, status)
            return
        gone = not self._tree.has(child.key)
        if gone and missed:
            self._exited(run, _UNKNOWN_END)
        else:
            self._loop.call_later(EXIT_POLL_S, lambda: self._await_orphan(run, child, missed=gone))


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


def _in_a_file(plan: dict[str, Any]) -> int:
    """Return a descriptor of a file without a name that holds the plan."""
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
