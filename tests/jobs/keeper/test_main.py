"""The keeper itself: it forks supervisors, and adopts the processes of killed ones."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from pagent.jobs.keeper import protocol
from pagent.jobs.tree import NATIVE
from tests.jobs.conftest import is_alive
from tests.jobs.keeper.conftest import KINDS, Control, Keeper, plan, until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def test_what_a_killed_supervisor_leaves_is_reported_by_the_keeper(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    os.mkfifo(tmp_path / "go")
    control.ask(1, plan("sh", "-c", "kill -9 $PPID; read line < go; exit 7"), tmp_path)
    (forked, *_) = control.reports(1)
    until(lambda: NATIVE.children(kept.process.pid) == [forked[2]])
    (tmp_path / "go").write_text("\n")
    kind, pid, status, _ = protocol.REPORT.unpack(kept.socket.recv(protocol.REPORT.size))
    assert (KINDS[kind], pid, os.waitstatus_to_exitcode(status)) == ("EXITED", forked[2], 7)


def test_nothing_is_started_for_an_agent_that_asks_no_more(kept: Keeper, tmp_path: Path) -> None:
    """The request is still in the socket when its sender has closed it."""
    ours, theirs = socket.socketpair()
    control = Control(ours)
    control.ask(1, plan("sh", "-c", "echo > began"), tmp_path)
    control.close()
    with theirs:
        socket.send_fds(kept.socket, [b"s"], [theirs.fileno()])
    other = kept.supervisor()  # the keeper forks in turn
    until(lambda: NATIVE.children(kept.process.pid) == [other.pid])
    assert os.listdir(tmp_path) == []


def test_without_a_descriptor_the_keeper_goes_on(kept: Keeper) -> None:
    kept.socket.sendall(b"s")
    assert kept.supervisor().pid > 0


def test_nothing_of_the_agent_is_inherited(kept: Keeper) -> None:
    control = kept.supervisor()
    until(lambda: Path(f"/proc/{control.pid}/comm").read_text() == "pagent-job\n")  # no copy of the keeper any more
    for pid in (kept.process.pid, control.pid):
        names = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        assert sum(name.startswith("socket:") for name in names) == 1, names
    with open(f"/proc/{control.pid}/environ", "rb") as file:
        assert b"PATH" not in file.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1])
def test_signals_that_are_meant_for_all_do_not_end_them(kept: Keeper, tmp_path: Path, number: int) -> None:
    control = kept.supervisor()
    os.kill(kept.process.pid, number)
    os.kill(control.pid, number)
    control.ask(1, plan("sh", "-c", f"kill -{int(number)} $PPID; exit 0"), tmp_path)
    _, exited, empty = control.reports(3)
    assert exited == ("EXITED", 1, 0)
    assert empty[0] == "EMPTY"
    assert kept.supervisor().pid > 0


def test_a_supervisor_outlives_a_killed_keeper(tmp_path: Path) -> None:
    kept = Keeper()
    control = kept.supervisor()
    control.ask(1, plan("sleep", "1000"), tmp_path)
    ((_, _, main),) = control.reports(1)
    kept.process.kill()
    assert kept.close() == -9
    assert is_alive(control.pid)
    assert NATIVE.children(control.pid) == [main]
    os.kill(main, signal.SIGKILL)
    until(lambda: not is_alive(control.pid))
