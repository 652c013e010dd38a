"""What this host offers to an agent and its jobs: the checks of ``pagent doctor`` that need no network."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pagent import __version__, is_compiled
from pagent.cli.setup.checks import Check, failed, ok, warning
from pagent.limits import GIB, MIB

_CGROUPS: Final = Path("/sys/fs/cgroup")
#: Number of the capability to change the user (capabilities(7)).
_CAP_SETUID: Final = 7
#: Descriptors and processes below which an agent with many jobs comes to its limits.
_FEW_FILES: Final = 4096
_FEW_PROCESSES: Final = 1024
#: Free space of a disk below which an agent cannot work, and below which jobs may soon fill it.
_NO_SPACE: Final = 64 * MIB
_LITTLE_SPACE: Final = GIB
#: adjtimex(2): the clock is not synchronised.
_TIME_ERROR: Final = 5
#: More than the size of ``struct timex``.
_TIMEX: Final = 512


def host_checks(root: Path | None) -> Iterator[Check]:
    """Yield the checks of this host. ``root``: the folder of the sandboxes, None for the default."""
    yield ok("pagent", f"version {__version__}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}")
    yield _compiled()
    yield _event_loop()
    yield from _kernel()
    yield from _readable("cgroup", lambda: [_cgroup()])
    yield from _readable("user", lambda: [_user()])
    yield from _limits()
    yield from _loopback()
    yield from _folder(Path(tempfile.gettempdir()) if root is None else root)
    yield _clock()


def _readable(name: str, checks: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Yield checks that read files of the system, or a warning where these cannot be read."""
    try:
        yield from checks()
    except OSError as error:
        yield warning(name, f"not known: {error.filename}: {error.strerror}", "Is /proc mounted, and readable?")


def _compiled() -> Check:
    if is_compiled():
        return ok("compiled", "the modules that every byte passes through are compiled")
    return warning("compiled", "nothing is compiled: a request costs twice the CPU time", "Install with a C compiler.")


def _event_loop() -> Check:
    if find_spec("uvloop") is not None:
        return ok("event loop", "uvloop")
    return warning("event loop", "asyncio: uvloop is not installed", "Install uvloop.")


def _kernel() -> Iterator[Check]:
    from pagent.jobs.openat_beneath import has_openat2

    if not sys.platform.startswith("linux"):
        yield warning("system", f"{platform.system()} {platform.release()}", "Jobs can be isolated on Linux only.")
        return
    yield ok("system", f"Linux {platform.release()}, {platform.machine()}")
    if has_openat2():
        yield ok("openat2", "the kernel keeps paths within the folder of a job")
    else:
        yield warning("openat2", "missing: symbolic links in folders of jobs are refused", "Linux 5.6 or newer has it.")
    yield _offered("pidfd", lambda: os.close(os.pidfd_open(os.getpid())), "Linux 5.3 or newer has it.")
    yield _subreaper()
    yield from _readable("no_new_privs", lambda: [_privileges()])
    yield from _readable("namespaces", lambda: [_namespaces()])


def _offered(name: str, probe: Callable[[], object], advice: str) -> Check:
    try:
        probe()
    except (AttributeError, OSError) as error:
        return warning(name, f"not available: {error}", advice)
    return ok(name, "available")


def _subreaper() -> Check:
    # The option PR_GET_CHILD_SUBREAPER of prctl(2), which changes nothing.
    value = ctypes.c_int()
    if ctypes.CDLL(None).prctl(37, ctypes.byref(value), 0, 0, 0) == 0:
        return ok("subreaper", "processes that leave their job's tree are found")
    return warning("subreaper", "refused by this system", "A process that leaves its parent may outlive its job.")


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def _privileges() -> Check:
    value = _status("NoNewPrivs")
    if not value:
        return warning("no_new_privs", "unknown to this system", "jobs.isolation.no_new_privs cannot be used.")
    return ok("no_new_privs", "set for this process already" if value == "1" else "available")


def _namespaces() -> Check:
    return ok("namespaces", ", ".join(sorted(os.listdir("/proc/self/ns"))))


def _cgroup() -> Check:
    """Try to make a cgroup below the own one, and remove it."""
    advice = "Only jobs.isolation.cgroup needs it; as a service of systemd: Delegate=yes."
    if not (_CGROUPS / "cgroup.controllers").exists():
        return warning("cgroup", "there are no cgroups of version 2", advice)
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line[4:].strip() for line in lines if line.startswith("0::/")), "")
    group = _CGROUPS / own / f"pagent-doctor-{os.getpid()}"
    try:
        group.mkdir()
        group.rmdir()
    except OSError as error:
        return warning("cgroup", f"none can be made below /{own}: {error.strerror}", advice)
    return ok("cgroup", f"version 2, and one can be made below /{own}")


def _user() -> Check:
    if not hasattr(os, "geteuid"):
        return warning("user", "this system has no users of Unix", "Jobs run as the user of the agent.")
    name = f"uid {os.geteuid()}"
    can_switch = os.geteuid() == 0 and (not (caps := _caps()) or caps >> _CAP_SETUID & 1)
    if can_switch:
        return ok("user", f"{name}: jobs.isolation.user can be used")
    return ok("user", f"{name}: jobs run as this user, because only root can switch to another")


def _caps() -> int:
    return int(_status("CapEff") or "0", 16) if sys.platform.startswith("linux") else 0


def _limits() -> Iterator[Check]:
    if sys.platform == "win32":
        return
    import resource

    for name, key, least, what in (
        ("open files", resource.RLIMIT_NOFILE, _FEW_FILES, "LimitNOFILE= of systemd, ulimit -Hn"),
        ("processes", resource.RLIMIT_NPROC, _FEW_PROCESSES, "LimitNPROC= of systemd, ulimit -Hu"),
    ):
        soft, hard = resource.getrlimit(key)
        text = f"at most {_count(hard)} (now {_count(soft)})"
        if hard == resource.RLIM_INFINITY or hard >= least:
            yield ok(name, text)
        else:
            yield warning(name, text, f"For hundreds of jobs set at least {least}: {what}.")


def _count(limit: int) -> str:
    return "any number" if limit < 0 or limit > 1 << 60 else str(limit)


def _loopback() -> Iterator[Check]:
    for name, family, address in (("IPv4", socket.AF_INET, "127.0.0.1"), ("IPv6", socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.bind((address, 0))
                port = probe.getsockname()[1]
        except OSError as error:
            text, advice = f"no port of {address} can be opened: {error.strerror}", "Is the loopback interface up?"
            yield failed(name, text, advice) if name == "IPv4" else warning(name, text, "Most jobs need IPv4 only.")
        else:
            yield ok(name, f"port {port} of {address} could be opened")


def _folder(root: Path) -> Iterator[Check]:
    name = "folder"
    try:
        os.rmdir(tempfile.mkdtemp(prefix="pagent-doctor-", dir=root))
        usage = shutil.disk_usage(root)
    except OSError as error:
        yield failed(name, f"{root} cannot be used: {error.strerror}", "Choose another: jobs.root, or TMPDIR.")
        return
    text = f"{root} has {usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free"
    if usage.free < _NO_SPACE:
        yield failed(name, text, "Make room, or choose another folder: jobs.root.")
    elif usage.free < _LITTLE_SPACE:
        yield warning(name, text, "Jobs with large files will fill it: jobs.root names another folder.")
    else:
        yield ok(name, text)
    if hasattr(os, "statvfs") and os.statvfs(root).f_flag & getattr(os, "ST_NOEXEC", 0):
        yield warning("noexec", f"programs in {root} cannot be executed", "Choose another folder: jobs.root.")


def _clock() -> Check:
    now = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC"
    if time.time() < Path(__file__).stat().st_mtime - 86_400:
        return failed(
            "clock", f"{now} is before pagent was installed", "Set the clock: certificates count as not valid."
        )
    if sys.platform.startswith("linux") and _is_unsynchronised():
        return warning("clock", f"{now}, not synchronised", "Tickets and expiring tokens need it: chrony, or NTP.")
    return ok("clock", now)


def _is_unsynchronised() -> bool:
    # modes=0 reads only. A seccomp filter may refuse it: -1 says nothing.
    return bool(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX)) == _TIME_ERROR)
