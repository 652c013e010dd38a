"""The keeper's own process: it forks supervisors, and ends all jobs after the agent has ended.

:func:`main` is called in a fresh interpreter, with the number of a descriptor: a socket of the agent.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import select
import signal
import socket

from pagent.jobs.keeper.ending import end_descendants
from pagent.jobs.keeper.process import ONE, SET_CHILD_SUBREAPER, SET_NAME, control_process, wake_on_exit
from pagent.jobs.keeper.protocol import EXITED, FAILED, FORK, REPORT, receive, send
from pagent.jobs.keeper.supervisor import Supervisor

_NAME = ctypes.c_char_p(b"pagent-keeper")


class Keeper:
    """The parent of all supervisors of one agent, and of the processes of killed supervisors."""

    def __init__(self, agent: socket.socket) -> None:
        # For life.
        self._agent = agent
        self._wake, self._waker = wake_on_exit()
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        # Pids of children; one that is no supervisor was a process of a job whose supervisor was killed.
        self._supervisors: set[int] = set()

    def run(self) -> None:
        """Serve the agent until it has ended; then end all jobs."""
        self._poll.register(self._agent, select.POLLIN)
        while self._turn():
            self._reap()
        self._poll.unregister(self._agent)
        self._agent.close()
        end_descendants(self._wait)

    def _turn(self) -> bool:
        """Handle events. Return False if the agent has ended."""
        for descriptor, _ in self._poll.poll():
            if descriptor == self._wake:
                os.read(self._wake, 4096)
            else:
                data, descriptors = receive(self._agent, 1, 1)
                if not data:
                    return False
                for control in descriptors:
                    self._fork_supervisor(control)
        return True

    def _fork_supervisor(self, descriptor: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            with socket.socket(fileno=descriptor) as control:
                send(control, REPORT.pack(FAILED, 0, error.errno or errno.EIO, FORK))
            return
        if pid == 0:
            try:
                os.close(self._agent.detach())
                os.close(self._wake)
                os.close(self._waker)
                supervisor = Supervisor(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor))
                supervisor.run()  # `supervisor` lives until the exit: the end of an open socket formats a warning
            finally:
                os._exit(0)
        self._supervisors.add(pid)
        os.close(descriptor)

    def _reap(self) -> bool:
        """Reap children, and report those that are no supervisors. Return False if no child is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid in self._supervisors:
                    self._supervisors.discard(pid)
                else:
                    # Never waits: an agent that does not read finds out by looking at the process.
                    send(self._agent, REPORT.pack(EXITED, pid, status, 0), socket.MSG_DONTWAIT)
        except ChildProcessError:
            return False

    def _wait(self, most_s: float) -> bool:
        """Wait until a child has ended, for at most the given seconds. Return False if no child is left."""
        if not self._reap():
            return False
        if self._poll.poll(int(1000 * most_s)):
            os.read(self._wake, 4096)
        return self._reap()


def main(descriptor: int) -> None:
    """Become the keeper."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    agent = socket.socket(fileno=descriptor)
    agent.set_inheritable(False)
    os.chdir("/")
    control_process(SET_NAME, _NAME)
    control_process(SET_CHILD_SUBREAPER, ONE)
    keeper = Keeper(agent)
    gc.disable()
    gc.freeze()
    keeper.run()
