"""Start, watch and reap the processes of jobs: ``python -I -S keeper.py DESCRIPTOR``, with a socket of the agent.

A program of its own, of the standard library only: it is small, so that it forks for little, it has no threads, and its
environment and descriptors are nobody's but its own. Three kinds of process run it:

* the *keeper*, one for each agent. For each descriptor that it receives it forks a supervisor with that as its control
  socket. It ends with the agent.
* a *supervisor*, one for each job: a subreaper (``PR_SET_CHILD_SUBREAPER``, prctl(2)), so that every descendant of the
  job stays beneath it, daemons included. It starts what the agent asks for, reports how that ends, reaps, and ends when
  it has no child left. It outlives the agent as long as the job's processes do.
* a *child*, which confines itself and becomes a program of the job. Only the child reads what a peer has sent.

On a control socket the agent sends REQUESTs, each with DESCRIPTORS; the supervisor and its children send REPORTs. All
are of fixed size. The plan of a request is in its first descriptor, as marshal writes it::

    {"program": str, "args": [str, ...], "environment": {str: str}, "terminal": bool,
     "oom_extra": int, "cgroup": path or null, "user": [uid, gid, [groups]] or null,
     "no_new_privs": bool, "limits": {"NOFILE": [soft, hard], ...}}

What a start costs are above all the pages that the new processes copy: each object that is touched after a fork is a
part of one. So what is done then is done by functions in C, and not by those of the library that are written in Python.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import array
import ctypes
import errno
import fcntl
import gc
import marshal
import os
import resource
import select
import signal
import socket
import struct
import sys
import termios
import time

#: Without the modules themselves, which would be a sixth of the memory that is forked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

#: The number of a run, chosen by the agent; comes with descriptors of the plan, stdin, stdout, stderr, working folder.
REQUEST = struct.Struct("=I")
DESCRIPTORS = 5
#: Kind, number of the run, a number, a start time.
REPORT = struct.Struct("=BIiQ")

# Kinds of reports, with the meaning of the number.
SUPERVISOR, FORKED, STARTED, FAILED, EXITED, EMPTY = range(6)  # pid, pid, 0, errno, status of waitpid(2), 0

# Which step of a start has failed: in place of the start time.
FORK, CONFINE, ENTER, EXECUTE = range(4)

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
_LINUX = sys.platform == "linux"
_prctl = ctypes.CDLL(None, use_errno=True).prctl if _LINUX else None

_ZERO, _ONE = ctypes.c_ulong(0), ctypes.c_ulong(1)
_KEEPER_NAME, _SUPERVISOR_NAME = ctypes.c_char_p(b"pagent-keeper"), ctypes.c_char_p(b"pagent-job")

_Failure = struct.Struct("=ii")

#: A program is executed within milliseconds. Only one that takes longer is reported before it is.
_EXECUTED_S = 0.02


def _control_process(option: int, value: ctypes.c_ulong | ctypes.c_char_p) -> None:
    if _prctl is not None and _prctl(option, value, _ZERO, _ZERO, _ZERO) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _receive(source: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """A message and its descriptors; fewer than were sent if there is no room for more."""
    found = array.array("i")
    room = socket.CMSG_SPACE(most * found.itemsize)
    data, ancillary, _, _ = source.recvmsg(size, room, _CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    if not _CLOEXEC:
        for descriptor in found:
            os.set_inheritable(descriptor, False)
    return data, found.tolist()


def _send(control: socket.socket, reports: bytes) -> None:
    try:  # noqa: SIM105 - contextlib's is in Python
        control.send(reports, _NO_SIGNAL)
    except OSError:  # the agent has gone
        pass


# --- the keeper -------------------------------------------------------------------------------------


def keep(agent: socket.socket) -> None:
    """Fork supervisors until the agent has gone."""
    while True:
        data, descriptors = _receive(agent, 1, 1)
        if not data:
            return
        for descriptor in descriptors:
            _fork_supervisor(agent, descriptor)


def _fork_supervisor(agent: socket.socket, descriptor: int) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        with socket.socket(fileno=descriptor) as control:
            _send(control, REPORT.pack(FAILED, 0, error.errno or errno.EIO, FORK))
        return
    if pid == 0:
        try:
            os.close(agent.detach())
            Supervisor(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor)).run()
        finally:
            os._exit(0)
    os.close(descriptor)


# --- a supervisor -----------------------------------------------------------------------------------


class Supervisor:
    """The root of one job's tree."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._runs: dict[int, int] = {}  # numbers of runs, by the pids of our own children
        self._starting: dict[int, int] = {}  # pids, by the descriptor that says how their start went
        self._began = False
        self._reports: list[bytes] = []
        self._held_until = 0.0  # while a program is about to be executed
        self._poll = select.poll()

    def run(self) -> None:
        """Until there is no child, and will be none."""
        wake, waker = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(waker, False)
        _signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGCHLD,))
        _control_process(_PR_SET_CHILD_SUBREAPER, _ONE)
        _control_process(_PR_SET_NAME, _SUPERVISOR_NAME)
        _send(self._control, REPORT.pack(SUPERVISOR, 0, os.getpid(), _start_time("self")))
        self._poll.register(wake, select.POLLIN)
        self._poll.register(self._control, select.POLLIN)
        while self._turn(wake):
            if self._held_s() <= 0:
                self._flush()
        self._report(EMPTY, 0, 0)
        self._flush()

    def _turn(self, wake: int) -> bool:
        """React to what has happened. False once the job is over."""
        held_ms = max(0, int(1000 * self._held_s()) + 1) if self._reports else None
        for descriptor, _ in self._poll.poll(held_ms):
            if descriptor == wake:
                os.read(wake, 4096)
            elif descriptor in self._starting:
                self._start_settled(descriptor)
            else:
                self._asked()
        return self._reap() or not self._began

    def _held_s(self) -> float:
        """Return how long reports may still wait for that of a program that is executed."""
        return self._held_until - time.monotonic() if self._starting else 0.0

    def _report(self, kind: int, run: int, number: int, step: int = 0) -> None:
        self._reports.append(REPORT.pack(kind, run, number, step))

    def _flush(self) -> None:
        if self._reports:
            _send(self._control, b"".join(self._reports))
            self._reports.clear()

    def _asked(self) -> None:
        try:
            data, descriptors = _receive(self._control, REQUEST.size, DESCRIPTORS)
        except OSError:
            data, descriptors = b"", []
        if len(data) < REQUEST.size:  # the agent has gone, or forgotten the job
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
            settled, settling = os.pipe()
        except OSError as error:
            self._report(FAILED, run, error.errno or errno.EIO, FORK)
            return
        try:
            pid = os.fork()
            if pid == 0:
                _become(settling, *descriptors)
        except OSError as error:
            os.close(settled)
            self._report(FAILED, run, error.errno or errno.EIO, FORK)
        else:
            self._began = True
            self._runs[pid] = run
            self._starting[settled] = pid
            self._held_until = time.monotonic() + _EXECUTED_S
            self._report(FORKED, run, pid, _start_time(pid))  # it is not reaped yet
            self._poll.register(settled, select.POLLIN)
        finally:
            os.close(settling)

    def _start_settled(self, descriptor: int) -> None:
        """A child has become its program, or failed to. It has closed its end of the pipe."""
        data = os.read(descriptor, _Failure.size)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        pid = self._starting.pop(descriptor)
        if len(data) == _Failure.size:
            self._report(FAILED, self._runs.pop(pid), *_Failure.unpack(data))
        else:
            self._report(STARTED, self._runs[pid], 0)

    def _reap(self) -> bool:
        """False if there is no child left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                for descriptor in [key for key, value in self._starting.items() if value == pid]:
                    self._start_settled(descriptor)
                if (run := self._runs.pop(pid, None)) is not None:
                    self._report(EXITED, run, status)
        except ChildProcessError:
            return False


# --- a child ----------------------------------------------------------------------------------------


def _become(settling: int, plan: int, stdin: int, stdout: int, stderr: int, folder: int) -> NoReturn:
    """Become the program of a plan; otherwise say why not, and end."""
    step = CONFINE
    try:
        os.setsid()
        wanted = _read_plan(plan)
        for number, descriptor in enumerate((stdin, stdout, stderr)):
            os.dup2(descriptor, number)
        if wanted["terminal"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        _confine(wanted)
        step = ENTER
        os.fchdir(folder)
        environment: dict[str, str] = wanted["environment"]
        environment.setdefault("PWD", os.getcwd())
        step = EXECUTE
        _execute(wanted["program"], wanted["args"], environment)
    except OSError as error:
        os.write(settling, _Failure.pack(error.errno or errno.EIO, step))
    except BaseException:  # noqa: BLE001 - it must not go on as a second supervisor
        os.write(settling, _Failure.pack(errno.EINVAL, step))
    finally:
        os._exit(127)


def _read_plan(descriptor: int) -> dict[str, Any]:
    wanted: dict[str, Any] = marshal.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    return wanted


def _start_time(pid: int | str) -> int:
    """Of a process of ours that is not reaped: field 22 of proc(5). 0 if it cannot be read: the agent looks itself."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:  # no descriptor is left, or this is another system
        return 0
    data = os.read(descriptor, 4096)
    os.close(descriptor)
    return int(data[data.rindex(b")") + 2 :].split()[19])


def _confine(wanted: dict[str, Any]) -> None:
    # In this order: the later ones take away what the earlier ones need.
    if wanted["cgroup"] is not None:
        with open(f"{wanted['cgroup']}/cgroup.procs", "w") as file:
            file.write("0")
    if _LINUX:
        _offer_to_the_oom_killer(wanted["oom_extra"])
    if wanted["no_new_privs"]:
        _control_process(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))
    if wanted["user"] is not None:
        uid, gid, groups = wanted["user"]
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    for name, pair in wanted["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), tuple(pair))
    # All dispositions are the default ones since the keeper's start; a handler goes with execve(2).
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _offer_to_the_oom_killer(extra: int) -> None:
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_RDWR)
        score = int(os.read(descriptor, 16))
        os.write(descriptor, b"%d" % min(1000, score + extra))
        os.close(descriptor)
    except PermissionError:  # confined by the agent's own surroundings
        pass


def _execute(program: str, args: list[str], environment: dict[str, str]) -> None:
    """Raise what execve(2) does, as execvp(3) does: the error of a file that is there, or else that there is none."""
    refused: OSError | None = None
    missing: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in _candidates(program, environment):
        try:
            os.execve(path, args, environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            missing = error
        except OSError as error:
            if "/" in program or os.path.isfile(path):
                refused = refused or error
    raise refused or missing


def _candidates(program: str, environment: dict[str, str]) -> Iterator[str]:
    if "/" in program:
        yield program
        return
    for folder in environment.get("PATH", os.defpath).split(":"):
        path = f"{folder}/{program}" if folder else program
        if os.access(path, os.F_OK):  # for less than execve(2) takes, which is given the environment
            yield path


# --- the start --------------------------------------------------------------------------------------


def main(descriptor: int) -> None:
    """Become the keeper."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are reaped by the kernel
    agent = socket.socket(fileno=descriptor)
    agent.set_inheritable(False)
    os.chdir("/")
    _control_process(_PR_SET_NAME, _KEEPER_NAME)
    gc.disable()
    gc.freeze()
    keep(agent)


if __name__ == "__main__":
    main(int(sys.argv[1]))
