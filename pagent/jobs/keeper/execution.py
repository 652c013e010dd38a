"""The steps of a child between its fork and the program of the job."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import errno
import fcntl
import marshal
import os
import resource
import termios

from pagent.jobs.keeper.process import IS_LINUX, NO_NEW_PRIVS, ONE, control_process
from pagent.jobs.keeper.protocol import CONFINE, ENTER, EXECUTE, FAILURE

#: Without the modules themselves, which would be a sixth of the memory that is forked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn


def become(plan: int, stdin: int, stdout: int, stderr: int, folder: int, settling: int) -> NoReturn:
    """Become the program of a plan, in a new session; otherwise write a FAILURE to ``settling``, and end."""
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
        os.write(settling, FAILURE.pack(error.errno or errno.EIO, step))
    except BaseException:  # noqa: BLE001 - it must not become a second supervisor
        os.write(settling, FAILURE.pack(errno.EINVAL, step))
    finally:
        os._exit(127)


def _read_plan(descriptor: int) -> dict[str, Any]:
    wanted: dict[str, Any] = marshal.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    return wanted


def _confine(wanted: dict[str, Any]) -> None:
    # In this order: later steps remove rights that earlier ones need.
    if wanted["cgroup"] is not None:
        with open(f"{wanted['cgroup']}/cgroup.procs", "w") as file:
            file.write("0")
    if IS_LINUX:
        _offer_to_the_oom_killer(wanted["oom_extra"])
    if wanted["no_new_privs"]:
        control_process(NO_NEW_PRIVS, ONE)
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
    """Raise the error that execvp(3) reports: that of a file that exists, otherwise that there is none."""
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
