"""A user manager of systemd, for ``systemd-run --user``, on a machine that systemd has not booted."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.kit.peer import PATIENCE_S

PROGRAMS = ("systemd-run", "systemctl", "dbus-daemon", "unshare")
_MANAGER = Path("/lib/systemd/systemd")
_BOOTED = Path("/run/systemd/system")
_CGROUPS = Path("/sys/fs/cgroup")

#: The manager looks whether systemd has booted the machine: a mount that it alone sees says so. It moves the processes
#: of its control group, so it gets a new one, and sees no other hierarchy than that of systemd.
_START = """
set -e
mkdir {cgroups}/systemd/{name}
echo $$ > {cgroups}/systemd/{name}/cgroup.procs
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/system /run/systemd/hierarchy
mount --bind {cgroups}/systemd /run/systemd/hierarchy
mount -t tmpfs tmpfs {cgroups}
mkdir {cgroups}/systemd
mount --move /run/systemd/hierarchy {cgroups}/systemd
grep -q ':name=systemd:/{name}$' /proc/self/cgroup
exec {manager} --user
"""


def missing() -> str:
    """Return why there can be no user manager here; empty if there can be one."""
    if os.geteuid() != 0:
        return "a mount namespace needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent or not _MANAGER.exists():
        return f"needs the packages systemd, dbus and util-linux: {', '.join(absent) or _MANAGER}"
    if _BOOTED.exists():
        return "systemd has booted this machine: its own managers are not for tests"
    if not (_CGROUPS / "systemd").is_dir():
        return "needs control groups of version 1 with a hierarchy for systemd"
    return ""


#: With control groups of version 1 a user's manager may not notice that a group is empty: it waits for this time.
_CONFIGURATION = """\
[Manager]
DefaultTimeoutStopSec=1s
"""


@contextmanager
def running_manager(folder: Path) -> Iterator[Mapping[str, str]]:
    """Start a bus and a manager; yield the variables by which commands find them. End both after the block."""
    folder.chmod(0o700)
    bus = folder / "bus"
    variables = {"XDG_RUNTIME_DIR": str(folder), "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}"}
    environ = {**os.environ, **variables, "XDG_CONFIG_HOME": str(folder)}
    (folder / "systemd").mkdir()
    (folder / "systemd" / "user.conf").write_text(_CONFIGURATION)
    name = f"pagent-tests-{secrets.token_hex(8)}"
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"log-{len(started)}").open("wb") as log:
            started.append(subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def runs() -> bool:
        assert started[-1].poll() is None, "the user manager has ended"
        command = ("systemctl", "--user", "list-jobs")
        return subprocess.run(command, env=environ, capture_output=True, timeout=PATIENCE_S).returncode == 0

    try:
        start("dbus-daemon", "--session", f"--address=unix:path={bus}", "--nofork", "--nopidfile")
        _wait(bus.exists)
        start("unshare", "-m", "sh", "-c", _START.format(cgroups=_CGROUPS, name=name, manager=_MANAGER))
        _wait(runs)
        yield variables
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(PATIENCE_S)
        _remove_cgroups(name)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the user manager does not run"
        time.sleep(0.02)


def _remove_cgroups(name: str) -> None:
    for folder, _, _ in os.walk(_CGROUPS / "systemd" / name, topdown=False):
        with suppress(OSError):  # a process of it ends just now
            Path(folder).rmdir()
