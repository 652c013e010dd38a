"""A user manager of systemd, for ``systemd-run --user``, on a machine that systemd has not booted."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
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
#: From TERM to KILL of the bus and the manager.
END_S = 10.0

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
            _end(process)
        _remove_cgroups(name)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the user manager does not run"
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a daemon. One that does not end in time is killed, so that the others are ended as well."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove_cgroups(name: str) -> None:
    """Remove the control groups of a manager, and kill what is left in them: one that is killed leaves its units."""
    for folder, _, _ in os.walk(_CGROUPS / "systemd" / name, topdown=False):
        deadline = time.monotonic() + PATIENCE_S
        while not _is_removed(Path(folder)) and time.monotonic() < deadline:
            time.sleep(0.02)


def _is_removed(cgroup: Path) -> bool:
    """Kill the processes of a control group, and remove it once they have ended."""
    with suppress(FileNotFoundError):
        for pid in (cgroup / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            cgroup.rmdir()
        except OSError:
            return False
    return True
