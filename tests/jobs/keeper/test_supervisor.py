"""The supervisor of one job: requests in, processes and reports out."""

from __future__ import annotations

import errno
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


def test_a_process_from_its_start_to_the_end(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    control.ask(7, plan("sh", "-c", "exit 3"), tmp_path)
    forked, exited, empty = control.reports(3)
    assert forked[:2] == ("FORKED", 7)
    assert control.failure(7) is None
    assert exited[:2] == ("EXITED", 7)
    assert os.waitstatus_to_exitcode(exited[2]) == 3
    assert empty == ("EMPTY", 0, 0)
    assert control.ended()
    until(lambda: not is_alive(control.pid))


def test_a_tree_is_empty_when_the_last_daemon_has_ended(kept: Keeper, tmp_path: Path) -> None:
    script = "(setsid env -i sh -c 'cd /; exec sleep 1000' & echo $! > pid.tmp; mv pid.tmp pid); exit 0"
    control = kept.supervisor()
    control.ask(1, plan("sh", "-c", script), tmp_path)
    assert [report[0] for report in control.reports(2)] == ["FORKED", "EXITED"]
    pid = int((tmp_path / "pid").read_text())
    until(lambda: NATIVE.children(control.pid) == [pid])
    os.kill(pid, signal.SIGKILL)
    assert control.reports(1) == [("EMPTY", 0, 0)]
    assert not is_alive(pid)


def test_several_processes_of_one_job(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    control.ask(1, plan("sleep", "1000"), tmp_path)
    ((_, _, main),) = control.reports(1)
    control.ask(2, plan("sh", "-c", "exit 5"), tmp_path)
    assert [report[:2] for report in control.reports(2)] == [("FORKED", 2), ("EXITED", 2)]
    control.ask(3, plan("no-such-program"), tmp_path)
    assert [report[:2] for report in control.reports(2)] == [("FORKED", 3), ("EXITED", 3)]
    assert control.failure(3) == (errno.ENOENT, protocol.EXECUTE)
    os.kill(main, signal.SIGTERM)
    assert [report[:2] for report in control.reports(2)] == [("EXITED", 1), ("EMPTY", 0)]


def test_a_supervisor_that_is_asked_for_nothing_ends_with_its_socket(kept: Keeper) -> None:
    control = kept.supervisor()
    control.socket.close()
    until(lambda: not is_alive(control.pid))


def test_a_process_is_reported_before_it_can_kill_its_supervisor(kept: Keeper, tmp_path: Path) -> None:
    for _ in range(20):
        control = kept.supervisor()
        control.ask(1, plan("sh", "-c", "kill -9 $PPID"), tmp_path)
        assert control.reports(1)[0][:2] == ("FORKED", 1)


def test_a_first_request_and_its_supervisor_are_one_report(kept: Keeper, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    control = Control(ours)
    kept.controls.append(control)
    control.ask(1, plan("true"), tmp_path)
    with theirs:
        socket.send_fds(kept.socket, [b"s"], [theirs.fileno()])
    data = ours.recv(4096)
    kinds = [KINDS[kind] for kind, *_ in protocol.REPORT.iter_unpack(data)]
    assert kinds[:2] == ["SUPERVISOR", "FORKED"]


def test_too_few_descriptors_are_an_error_of_the_run(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    socket.send_fds(control.socket, [protocol.REQUEST.pack(9)], [0, 1])
    assert control.reports(1) == [("FAILED", 9, errno.EMFILE)]
    control.socket.sendall(protocol.REQUEST.pack(10))
    assert control.reports(1) == [("FAILED", 10, errno.EMFILE)]
    control.ask(11, plan("true"), tmp_path)
    assert [report[:2] for report in control.reports(2)] == [("FORKED", 11), ("EXITED", 11)]
