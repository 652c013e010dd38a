"""The confinement of jobs, by configuration (``jobs.isolation``): another user, limits, a cgroup, a clean environment.

A plan has the steps in the process itself; ``jobs/keeper`` carries them out.
"""

from __future__ import annotations

import fnmatch
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pagent import limits
from pagent.config.model import IsolationSettings
from pagent.errors import ConfigError
from pagent.jobs.system import EXIT_POLL_S
from pagent.runtime.descriptors import original_limit

if TYPE_CHECKING:
    import pwd

#: Added to a job's oom_score_adj (proc(5)): counts as half of the memory of the machine.
_OOM_EXTRA: Final = 500
#: Variables of the agent's that hold its secrets, as PAGENT_TOKEN does.
_SECRET: Final = re.compile(r"^PAGENT_.*(TOKEN|SECRET|PASSWORD|KEY)")
_IS_UTF8: Final = sys.getfilesystemencoding() == "utf-8"
_CPU_PERIOD_US: Final = 100_000
_GROUP_PREFIX: Final = "pagent-"
#: Seconds of CPU time between SIGXCPU and SIGKILL.
XCPU_GRACE_S: Final = 5


class Confinement:
    """The confinement of the jobs of one agent. ConfigError, with the key, for a setting that it cannot enforce."""

    def __init__(self, wanted: IsolationSettings) -> None:
        self._wanted = wanted
        self._user = None if wanted.user is None else _user(wanted.user)
        self._limits = _limits(wanted)
        self._controls = _controls(wanted)
        confined = self._user or self._limits or wanted.no_new_privs or wanted.cgroup
        if confined and not sys.platform.startswith("linux"):
            raise ConfigError("jobs.isolation: only environment can be used on this system")
        if self._controls and wanted.cgroup is None:
            raise ConfigError("jobs.isolation.cgroup: must be set for the limits of one")
        if wanted.cgroup is not None:
            _prepare(wanted.cgroup, self._controls)
        self._environment = self._own_environment()

    @property
    def user_id(self) -> tuple[int, int] | None:
        """Return uid and gid that jobs run as; None if they are the agent's."""
        return None if self._user is None else (self._user.pw_uid, self._user.pw_gid)

    def environment(self) -> Mapping[str, str]:
        """Return the part of the agent's own environment that jobs get, as it was when this was made."""
        return self._environment

    def _own_environment(self) -> dict[str, str]:
        names = self._wanted.environment
        environment = {
            name: value
            for name, value in os.environ.items()
            if names is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in names)
        }
        for name in _not_for_jobs(environment):
            del environment[name]
        if self._user is not None:
            environment |= {"HOME": self._user.pw_dir, "USER": self._user.pw_name, "LOGNAME": self._user.pw_name}
        return environment

    def plan(
        self, args: Sequence[str], environment: dict[str, str], group: Group | None, *, terminal: bool = False
    ) -> dict[str, Any]:
        """Return the plan of a process (``jobs/keeper/protocol.py``)."""
        return {
            "program": _text(args[0]),
            "args": [_text(arg) for arg in args],
            "environment": environment if _IS_UTF8 else {_text(name): _text(environment[name]) for name in environment},
            "terminal": terminal,
            "oom_extra": _OOM_EXTRA,
            "cgroup": None if group is None else str(group.path),
            "user": None if self._user is None else [*self.user_id, _groups(self._user)],  # type: ignore[misc]
            "no_new_privs": self._wanted.no_new_privs,
            "limits": self._limits_of_jobs(),
        }

    def _limits_of_jobs(self) -> dict[str, tuple[int, int]]:
        """Return the soft and hard limits."""
        own = original_limit()
        given = {} if own is None else {"NOFILE": own}
        return given | self._limits

    def make_group(self, uid: str) -> Group | None:
        """Make a cgroup for a job; return None if cgroups are not configured. OSError."""
        if self._wanted.cgroup is None:
            return None
        group = Group(self._wanted.cgroup / f"{_GROUP_PREFIX}{uid}")
        group.make(self._controls)
        return group


class Group:
    """The cgroup of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, controls: Mapping[str, str]) -> None:
        """Make the group. OSError if it cannot be made; then nothing of it is left."""
        self.path.mkdir()
        try:
            for name, value in controls.items():
                (self.path / name).write_text(value)
        except OSError:
            self.path.rmdir()
            raise

    def kill(self) -> None:
        """Send KILL to all processes in it at once (cgroup.kill, Linux 5.14). May be called in any thread."""
        with suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")

    def remove(self) -> None:
        """End the processes in it, and remove the group. Blocking. OSError if a process does not end."""
        give_up = time.monotonic() + limits.KILL_WAIT_S
        while True:
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > give_up:
                    raise
                self.kill()
                time.sleep(EXIT_POLL_S)
            else:
                return


# --- the environment ----------------------------------------------------------------------------------


def _not_for_jobs(environment: Iterable[str]) -> list[str]:
    """Return the agent's own variables that jobs do not get: they hold its secrets, or have no meaning to a job."""
    names = [name for name in environment if _SECRET.search(name)]
    names += [name for name in ("PWD", "OLDPWD") if name in environment]
    if "LC_CTYPE" in environment and not _was_given("LC_CTYPE"):
        names.append("LC_CTYPE")
    return names


def _was_given(name: str) -> bool:
    """Return whether this process was started with the variable. The interpreter itself adds a locale (PEP 538)."""
    try:
        given = Path("/proc/self/environ").read_bytes()
    except OSError:
        return True
    return f"\0{name}=".encode() in b"\0" + given


def _text(value: str) -> str:
    """Return the text with the same bytes in UTF-8, which the keeper uses for names and values."""
    return value if _IS_UTF8 else os.fsencode(value).decode("utf-8", "surrogateescape")


# --- configuration ------------------------------------------------------------------------------------


def _user(wanted: str) -> pwd.struct_passwd:
    import pwd

    try:
        user = pwd.getpwuid(int(wanted)) if wanted.isdecimal() else pwd.getpwnam(wanted)
    except (KeyError, OverflowError):
        raise ConfigError(f"jobs.isolation.user: there is no user {wanted!r}") from None
    if os.geteuid() != 0:
        raise ConfigError("jobs.isolation.user: only an agent that runs as root can run jobs as another user")
    return user


def _groups(user: pwd.struct_passwd) -> list[int]:
    return os.getgrouplist(user.pw_name, user.pw_gid)


def _limits(wanted: IsolationSettings) -> dict[str, tuple[int, int]]:
    """Return soft and hard limits, by the names of setrlimit(2). ConfigError for more than this agent may give."""
    given = {
        "NOFILE": ("max_files", wanted.max_files),
        "NPROC": ("max_processes", wanted.max_processes),
        "AS": ("max_memory_bytes", wanted.max_memory_bytes),
        "CPU": ("max_cpu_seconds", wanted.max_cpu_seconds),
    }
    found = {}
    for name, (key, value) in given.items():
        if value is None:
            continue
        hard = _hard_limit(name)
        if hard is not None and value > hard:
            raise ConfigError(f"jobs.isolation.{key}: {value} is more than this agent itself may have, {hard}")
        found[name] = value, value
    if wanted.max_cpu_seconds is not None:
        # The kernel sends SIGXCPU at the soft limit, which names the reason, and SIGKILL at the hard one.
        most = wanted.max_cpu_seconds + XCPU_GRACE_S
        hard = _hard_limit("CPU")
        found["CPU"] = wanted.max_cpu_seconds, most if hard is None else min(most, hard)
    return found


def _hard_limit(name: str) -> int | None:
    """Return the hard limit of this process, None if there is none."""
    if sys.platform == "win32":
        return None
    import resource

    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _controls(wanted: IsolationSettings) -> dict[str, str]:
    """Return the files of a group and their new content."""
    controls: dict[str, str] = {}
    if wanted.cgroup_memory_bytes is not None:
        controls["memory.max"] = str(wanted.cgroup_memory_bytes)
    if wanted.cgroup_processes is not None:
        controls["pids.max"] = str(wanted.cgroup_processes)
    if wanted.cgroup_cpus is not None:
        controls["cpu.max"] = f"{round(wanted.cgroup_cpus * _CPU_PERIOD_US)} {_CPU_PERIOD_US}"
    return controls


def _prepare(cgroup: Path, controls: Mapping[str, str]) -> None:
    """Enable the controllers for the groups that will be made below."""
    if not (cgroup / "cgroup.procs").exists() or not os.access(cgroup, os.W_OK):
        raise ConfigError("jobs.isolation.cgroup: no cgroup of version 2 that this agent may write to")
    for name in controls:
        controller = name.partition(".")[0]
        try:
            (cgroup / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as error:
            text = f"jobs.isolation.cgroup: it cannot limit {controller}: {error.strerror}"
            raise ConfigError(text) from None
    # Groups of killed agents. One that is not empty belongs to another agent; a young one is about to get its process.
    for group in cgroup.glob(f"{_GROUP_PREFIX}*"):
        with suppress(OSError):
            if time.time() - group.stat().st_ctime > limits.KILL_WAIT_S:
                group.rmdir()
