"""Every module can be imported on each system of docs/contract.rst, "Platforms".

Those systems are not here, but what a module needs while it is imported can be taken away: the modules that exist on
Unix only, the names that Windows' ``os`` and ``signal`` do not have, and uvloop.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

#: Modules that are not there.
ABSENT = {
    "win32": ["fcntl", "resource", "termios", "pty", "tty", "pwd", "grp", "uvloop"],
    "darwin": ["msvcrt"],
}

#: Names of `os` that are not there: those of its documentation that are of Unix, or of Linux, only.
ABSENT_OS = {
    "win32": """
        O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_TMPFILE O_SYNC WNOHANG WEXITED P_PIDFD F_LOCK
        SCHED_OTHER RTLD_NOW chown chroot eventfd fchdir fchmod fchown fork forkpty fpathconf fstatvfs fwalk getegid
        geteuid getgid getgrouplist getgroups getpgid getpgrp getpriority getresgid getresuid getsid getuid killpg
        lchown lockf major makedev memfd_create minor mkfifo mknod nice openpty pidfd_open pipe2 posix_fadvise
        posix_fallocate posix_openpt posix_spawn posix_spawnp pread preadv pwrite pwritev readv sched_getaffinity
        sched_setaffinity sched_yield sendfile setgid setgroups setns setpgid setpriority setresgid setresuid setsid
        setuid splice statvfs sync sysconf tcgetpgrp tcsetpgrp uname unshare wait3 wait4 waitid WIFEXITED
        WEXITSTATUS WIFSIGNALED WTERMSIG waitstatus_to_exitcode writev copy_file_range getxattr setxattr
    """,
    "darwin": """
        O_PATH O_TMPFILE P_PIDFD eventfd memfd_create pidfd_open sched_getaffinity sched_setaffinity setns splice
        unshare copy_file_range posix_fallocate posix_fadvise getresuid setresuid getxattr setxattr pipe2
    """,
}

#: Of `signal`.
ABSENT_SIGNALS = {
    "win32": ["SIGKILL", "SIGSTOP", "SIGCONT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "SIGXFSZ",
              "SIGWINCH", "SIGTSTP", "SIGQUIT", "SIGALRM", "SIGTTOU", "SIGTTIN", "pthread_sigmask", "sigwait"],
    "darwin": ["SIGPWR", "SIGSTKFLT", "SIGRTMIN", "SIGRTMAX", "pidfd_send_signal"],
}  # fmt: skip

#: Of `socket`.
ABSENT_SOCKET = {
    "win32": ["AF_UNIX", "TCP_INFO", "TCP_USER_TIMEOUT", "SO_PEERCRED", "AF_NETLINK", "TCP_CORK", "TCP_QUICKACK"],
    "darwin": ["TCP_INFO", "TCP_USER_TIMEOUT", "SO_PEERCRED", "AF_NETLINK", "TCP_CORK", "TCP_QUICKACK"],
}

IMPORT_ALL = """
import importlib, importlib.abc, json, os, pkgutil, signal, socket, sys, types
# What is not ours finds the system that it is for.
import asyncio, aiohttp.web, click, concurrent.futures, ctypes, multiprocessing, orjson, psutil, subprocess, tarfile
import tempfile, uuid, wsproto, yaml, msgpack

platform, modules, names, signals, sockets = json.loads(sys.argv[1])

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in modules:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
for module, gone in ((os, names), (signal, signals), (socket, sockets)):
    for name in gone:
        if hasattr(module, name):
            delattr(module, name)
if platform == "win32":
    sys.modules["msvcrt"] = types.ModuleType("msvcrt")
    ctypes.CDLL = ctypes.PyDLL = None
sys.platform = platform

import pagent
failed = {}
for found in pkgutil.walk_packages(pagent.__path__, "pagent."):
    if found.name in ("pagent.__main__", "pagent.jobs.procfs") or found.name.startswith("pagent.jobs.keeper."):
        continue
    try:
        importlib.import_module(found.name)
    except Exception as error:
        failed[found.name] = f"{type(error).__name__}: {error}"
loaded = [name for name in sys.modules if name.startswith("pagent.")]
print(json.dumps([failed, loaded]))
"""


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_every_module_is_imported_without_what_that_system_lacks(platform: str) -> None:
    plan = [platform, ABSENT[platform], ABSENT_OS[platform].split(), ABSENT_SIGNALS[platform], ABSENT_SOCKET[platform]]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps(plan)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    failed, loaded = json.loads(done.stdout.splitlines()[-1])
    assert failed == {}
    assert len(loaded) > 100
    assert "pagent.agent" in loaded
    # Of Linux, and of Unix: nothing asks for them elsewhere.
    assert "pagent.jobs.procfs" not in loaded
    assert ("pagent.jobs.keeper.protocol" in loaded) is (platform != "win32")
