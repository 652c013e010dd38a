"""The end of all jobs after the end of the agent."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pagent import limits
from pagent.jobs.keeper.ending import GRACE_S, descendants
from tests.jobs.conftest import PYTHON, is_alive
from tests.jobs.keeper.conftest import Control, Keeper, plan, until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

#: Writes its pid and that of a daemon: in a new session, without environment, in the folder /, and maybe without TERM.
DAEMON = """
import os, signal, sys
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        os.write(write, b"%d" % os.getpid())
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os._exit(0)
os.wait()
with open("pids.tmp", "w") as file:
    file.write(f"{os.getpid()} {int(os.read(read, 100))}")
os.rename("pids.tmp", "pids")
if sys.argv[2] == "kills":
    os.kill(os.getppid(), signal.SIGKILL)
signal.pause()
"""


def daemon(control: Control, folder: Path, *arguments: str) -> list[int]:
    control.ask(1, plan(PYTHON, "-I", "-S", "-c", DAEMON, *arguments), folder)
    until((folder / "pids").exists)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


@pytest.mark.parametrize("how", ["stays", "kills"])
def test_all_jobs_end_after_the_agent(tmp_path: Path, how: str) -> None:
    kept = Keeper()
    first, second = kept.supervisor(), kept.supervisor()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    pids = daemon(first, tmp_path / "first", "gentle", how) + daemon(second, tmp_path / "second", "gentle", "stays")
    if how == "kills":
        until(lambda: not is_alive(first.pid))
    assert all(map(is_alive, pids))
    assert kept.close() == 0
    assert not any(map(is_alive, [*pids, first.pid, second.pid]))


def test_the_grace_period_is_that_of_the_agent() -> None:
    assert GRACE_S == limits.TERM_GRACE_S


@pytest.mark.slow
def test_jobs_that_ignore_term_are_killed_after_their_grace(tmp_path: Path) -> None:
    kept = Keeper()
    control = kept.supervisor()
    pids = daemon(control, tmp_path, "stubborn", "stays")
    os.kill(control.pid, signal.SIGSTOP)  # a supervisor that cannot reap delays nothing
    began = time.monotonic()
    assert kept.close() == 0
    assert time.monotonic() - began > 0.9 * GRACE_S
    assert not any(map(is_alive, [*pids, control.pid]))


def test_processes_of_others_are_no_descendants(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    pids = daemon(control, tmp_path, "gentle", "stays")
    found = {pid for (pid, _), _ in descendants(kept.process.pid)}
    assert found == {control.pid, *pids}
