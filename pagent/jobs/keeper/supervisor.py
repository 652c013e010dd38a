"""The root of one job's tree."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket

from pagent.jobs.keeper.execution import become
from pagent.jobs.keeper.process import (
    ONE,
    SET_CHILD_SUBREAPER,
    SET_NAME,
    control_process,
    start_time,
    wake_on_exit,
)
from pagent.jobs.keeper.protocol import (
    DESCRIPTORS,
    EMPTY,
    EXITED,
    FAILED,
    FORK,
    FORKED,
    REPORT,
    REQUEST,
    SUPERVISOR,
    receive,
    send,
)

_NAME = ctypes.c_char_p(b"pagent-job")


class Supervisor:
    """The process that starts, watches and reaps the processes of one job."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._runs: dict[int, int] = {}  # numbers of runs, by the pids of our own children
        self._began = False
        self._reports: list[bytes] = []
        self._poll = select.poll()

    def run(self) -> None:
        """Serve the agent until there is no child, and none will be requested."""
        wake, _ = wake_on_exit()
        control_process(SET_CHILD_SUBREAPER, ONE)
        control_process(SET_NAME, _NAME)
        self._report(SUPERVISOR, 0, os.getpid(), start_time("self"))
        self._poll.register(wake, select.POLLIN)
        self._poll.register(self._control, select.POLLIN)
        if not self._poll.poll(0):  # with the first request there, one message does for both
            self._flush()
        while self._turn(wake):
            self._flush()
        self._report(EMPTY, 0, 0)
        self._flush()

    def _turn(self, wake: int) -> bool:
        """Handle events. Return False once the job is over."""
        for descriptor, _ in self._poll.poll():
            if descriptor == wake:
                os.read(wake, 4096)
            else:
                self._take_request()
        return self._reap() or not self._began

    def _report(self, kind: int, run: int, number: int, extra: int = 0) -> None:
        self._reports.append(REPORT.pack(kind, run, number, extra))

    def _flush(self) -> bool:
        """Send the reports. Return False if the agent has ended, or has closed the control socket."""
        if not self._reports:
            return True
        reports = b"".join(self._reports)
        self._reports.clear()
        return send(self._control, reports)

    def _take_request(self) -> None:
        data, descriptors = receive(self._control, REQUEST.size, DESCRIPTORS)
        if len(data) < REQUEST.size:  # the agent has ended, or needs no more of the job
            self._poll.unregister(self._control)
            self._began = True
        elif len(descriptors) < DESCRIPTORS:
            self._report(FAILED, REQUEST.unpack(data)[0], errno.EMFILE, FORK)
        else:
            self._fork(REQUEST.unpack(data)[0], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _fork(self, run: int, descriptors: list[int]) -> None:
        try:
            waits, release = os.pipe()
        except OSError as error:
            self._report(FAILED, run, error.errno or errno.EIO, FORK)
            return
        try:
            pid = os.fork()
            if pid == 0:
                os.close(release)
                if os.read(waits, 1):
                    become(*descriptors)
                os._exit(127)
            self._began = True
            self._runs[pid] = run
            self._report(FORKED, run, pid, start_time(pid))  # it is not reaped yet
            # The child waits until it is reported, and ends if it cannot be: its program may kill this process at once.
            if self._flush():
                os.write(release, b"r")
        except OSError as error:
            self._report(FAILED, run, error.errno or errno.EIO, FORK)
        finally:
            os.close(waits)
            os.close(release)

    def _reap(self) -> bool:
        """Reap children, and report those that the agent has requested. Return False if no child is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if (run := self._runs.pop(pid, None)) is not None:
                    self._report(EXITED, run, status)
        except ChildProcessError:
            return False
