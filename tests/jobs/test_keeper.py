"""The keeper and its supervisors, by their protocol: sockets in, processes out."""

from __future__ import annotations

import errno
import json
import marshal
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pagent.jobs import keeper
from pagent.jobs.tree import NATIVE
from tests.jobs.conftest import PATIENCE_S, PYTHON, is_alive

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

PROGRAM = keeper.__file__
KINDS = ("SUPERVISOR", "FORKED", "STARTED", "FAILED", "EXITED", "EMPTY")


class Control:
    """The agent's end of a control socket."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        end.settimeout(PATIENCE_S)
        self.pid = 0

    def reports(self, count: int) -> list[tuple[str, int, int]]:
        """So many reports, without start times: kind, run, number."""
        return [report[:3] for report in self.whole_reports(count)]

    def whole_reports(self, count: int) -> list[tuple[str, int, int, int]]:
        found = []
        for _ in range(count):
            data = self.socket.recv(keeper.REPORT.size, socket.MSG_WAITALL)
            kind, *rest = keeper.REPORT.unpack(data)
            found.append((KINDS[kind], *rest))
        return found

    def ask(self, run: int, plan: dict[str, Any], folder: Path, out: int | None = None) -> None:
        content = os.memfd_create("plan")
        os.write(content, marshal.dumps(plan))
        nothing = os.open(os.devnull, os.O_RDWR)
        place = os.open(folder, os.O_RDONLY)
        stdout = nothing if out is None else out
        socket.send_fds(self.socket, [keeper.REQUEST.pack(run)], [content, nothing, stdout, stdout, place])
        for descriptor in (content, nothing, place):
            os.close(descriptor)

    def ended(self) -> bool:
        """Has the supervisor closed its end?"""
        return self.socket.recv(1) == b""


def plan(*args: str, env: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "program": args[0],
        "args": args,
        "environment": {"PATH": os.environ["PATH"], **(env or {})},
        "terminal": False,
        "oom_extra": 0,
        "cgroup": None,
        "user": None,
        "no_new_privs": False,
        "limits": {},
    }
    return given | options


class Keeper:
    """A keeper process."""

    def __init__(self) -> None:
        self.controls: list[Control] = []
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [PYTHON, "-I", "-S", "-X", "utf8", PROGRAM, str(theirs.fileno())],
                env={},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def supervisor(self) -> Control:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.socket, [b"s"], [theirs.fileno()])
        control = Control(ours)
        self.controls.append(control)
        ((kind, _, pid, started),) = control.whole_reports(1)
        assert kind == "SUPERVISOR"
        found = NATIVE.stat(pid)
        assert found is not None
        assert found.key == (pid, started)
        control.pid = pid
        return control

    def close(self) -> int:
        self.socket.close()
        for control in self.controls:
            control.socket.close()
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def kept() -> Iterator[Keeper]:
    found = Keeper()
    yield found
    assert found.close() == 0


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_a_process_from_its_start_to_the_end(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    control.ask(7, plan("sh", "-c", "exit 3"), tmp_path)
    forked, started, exited, empty = control.reports(4)
    assert forked[:2] == ("FORKED", 7)
    assert started == ("STARTED", 7, 0)
    assert exited[:2] == ("EXITED", 7)
    assert os.waitstatus_to_exitcode(exited[2]) == 3
    assert empty == ("EMPTY", 0, 0)
    assert control.ended()
    until(lambda: not is_alive(control.pid))


def test_what_the_process_finds(kept: Keeper, tmp_path: Path) -> None:
    script = """
import json, os, signal
print(json.dumps([os.getcwd(), os.environb[b"\\xff"].hex(), dict(os.environ)["PWD"], os.getsid(0) == os.getpid(),
    sorted(os.listdir("/proc/self/fd")), [line for line in open("/proc/self/status") if line.startswith("Sig")]]))
"""
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    control = kept.supervisor()
    environment = {"\udcff": "\udcfe", "PYTHONUTF8": "1"}
    control.ask(1, plan(PYTHON, "-c", script, env=environment), tmp_path, out)
    os.close(out)
    *_, exited, _ = control.reports(4)
    assert exited == ("EXITED", 1, 0)
    folder, value, pwd, leads, descriptors, signals = json.loads((tmp_path / "out").read_text())
    assert (folder, pwd, value, leads) == (str(tmp_path), str(tmp_path), "fe", True)
    assert descriptors == ["0", "1", "2", "3"]
    table = dict(line.split() for line in signals)
    assert int(table["SigBlk:"], 16) == 0


def test_every_signal_has_its_default(kept: Keeper, tmp_path: Path) -> None:
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    control = kept.supervisor()
    control.ask(1, plan("grep", "Sig", "/proc/self/status"), tmp_path, out)
    os.close(out)
    control.reports(4)
    table = dict(line.split() for line in (tmp_path / "out").read_text().splitlines())
    # The C library keeps two signals for itself, and lets no program change them.
    changeable = sum(1 << (number - 1) for number in signal.valid_signals())
    assert (int(table["SigBlk:"], 16), int(table["SigIgn:"], 16) & changeable) == (0, 0)


@pytest.mark.parametrize(
    ("program", "number", "step"),
    [
        ("no-such-program", errno.ENOENT, keeper.EXECUTE),
        ("./file", errno.EACCES, keeper.EXECUTE),
        ("./no/file", errno.ENOENT, keeper.EXECUTE),
        ("file/x", errno.ENOTDIR, keeper.EXECUTE),
        ("inaccessible", errno.EACCES, keeper.EXECUTE),
    ],
)
def test_a_program_that_cannot_be_executed(kept: Keeper, tmp_path: Path, program: str, number: int, step: int) -> None:
    (tmp_path / "file").write_text("not executable")
    (tmp_path / "inaccessible").write_text("not executable")
    control = kept.supervisor()
    control.ask(1, plan(program, env={"PATH": "/nowhere:/etc/passwd:."}), tmp_path)
    reports = control.whole_reports(3)
    assert [report[0] for report in reports] == ["FORKED", "FAILED", "EMPTY"]
    assert reports[1][1:] == (1, number, step)
    assert control.ended()


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"cgroup": "/no/such/group"}, keeper.CONFINE),
        ({"limits": {"NOFILE": [2**62, 1]}}, keeper.CONFINE),
        ({"limits": {"NO_SUCH": [1, 1]}}, keeper.CONFINE),
        ({"environment": {"A=B\0": "C"}}, keeper.EXECUTE),
        ({"args": []}, keeper.EXECUTE),
        ({"program": "a\0b"}, keeper.EXECUTE),
    ],
)
def test_a_plan_that_cannot_be_carried_out(kept: Keeper, tmp_path: Path, options: dict[str, Any], step: int) -> None:
    control = kept.supervisor()
    control.ask(1, plan("true", **options), tmp_path)
    reports = control.whole_reports(3)
    assert [report[0] for report in reports] == ["FORKED", "FAILED", "EMPTY"]
    assert reports[1][3] == step


def test_a_plan_that_is_none(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    control.ask(1, {}, tmp_path)
    assert [report[0] for report in control.reports(3)] == ["FORKED", "FAILED", "EMPTY"]


def test_a_tree_is_empty_when_the_last_daemon_has_ended(kept: Keeper, tmp_path: Path) -> None:
    script = "(setsid env -i sh -c 'cd /; exec sleep 1000' & echo $! > pid.tmp; mv pid.tmp pid); exit 0"
    control = kept.supervisor()
    control.ask(1, plan("sh", "-c", script), tmp_path)
    assert [report[0] for report in control.reports(3)] == ["FORKED", "STARTED", "EXITED"]
    pid = int((tmp_path / "pid").read_text())
    until(lambda: NATIVE.children(control.pid) == [pid])
    os.kill(pid, signal.SIGKILL)
    assert control.reports(1) == [("EMPTY", 0, 0)]
    assert not is_alive(pid)


def test_several_processes_of_one_job(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    control.ask(1, plan("sleep", "1000"), tmp_path)
    (_, _, main), _ = control.reports(2)
    control.ask(2, plan("sh", "-c", "exit 5"), tmp_path)
    forked, started, exited = control.reports(3)
    assert (forked[:2], started, exited[:2]) == (("FORKED", 2), ("STARTED", 2, 0), ("EXITED", 2))
    control.ask(3, plan("no-such-program"), tmp_path)
    assert [report[:2] for report in control.reports(2)] == [("FORKED", 3), ("FAILED", 3)]
    os.kill(main, signal.SIGTERM)
    assert [report[:2] for report in control.reports(2)] == [("EXITED", 1), ("EMPTY", 0)]


def test_a_supervisor_that_is_asked_for_nothing_ends_with_its_socket(kept: Keeper) -> None:
    control = kept.supervisor()
    control.socket.close()
    until(lambda: not is_alive(control.pid))


def test_a_supervisor_outlives_the_agent_as_long_as_its_job(tmp_path: Path) -> None:
    kept = Keeper()
    control = kept.supervisor()
    control.ask(1, plan("sleep", "1000"), tmp_path)
    (_, _, main), _ = control.reports(2)
    control.socket.close()
    assert kept.close() == 0
    assert is_alive(control.pid)
    assert NATIVE.children(control.pid) == [main]
    os.kill(main, signal.SIGKILL)
    until(lambda: not is_alive(control.pid))


def test_too_few_descriptors_are_an_error_of_the_run(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    socket.send_fds(control.socket, [keeper.REQUEST.pack(9)], [0, 1])
    assert control.reports(1) == [("FAILED", 9, errno.EMFILE)]
    control.socket.sendall(keeper.REQUEST.pack(10))
    assert control.reports(1) == [("FAILED", 10, errno.EMFILE)]
    control.ask(11, plan("true"), tmp_path)
    assert [report[:2] for report in control.reports(2)] == [("FORKED", 11), ("STARTED", 11)]


def test_without_a_descriptor_the_keeper_goes_on(kept: Keeper) -> None:
    kept.socket.sendall(b"s")
    assert kept.supervisor().pid > 0


def test_nothing_of_the_agent_is_inherited(kept: Keeper) -> None:
    control = kept.supervisor()
    for pid in (kept.process.pid, control.pid):
        names = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        assert sum(name.startswith("socket:") for name in names) == 1, names
    assert Path(f"/proc/{control.pid}/comm").read_text() == "pagent-job\n"
    with open(f"/proc/{control.pid}/environ", "rb") as file:
        assert b"PATH" not in file.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1])
def test_signals_that_are_meant_for_all_do_not_end_them(kept: Keeper, tmp_path: Path, number: int) -> None:
    control = kept.supervisor()
    os.kill(kept.process.pid, number)
    os.kill(control.pid, number)
    control.ask(1, plan("sh", "-c", f"kill -{int(number)} $PPID; exit 0"), tmp_path)
    *_, exited, empty = control.reports(4)
    assert exited == ("EXITED", 1, 0)
    assert empty[0] == "EMPTY"
    assert kept.supervisor().pid > 0


def test_a_terminal(kept: Keeper, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    control = kept.supervisor()
    content = os.memfd_create("plan")
    os.write(content, marshal.dumps(plan("sh", "-c", "tty; echo here > /dev/tty", terminal=True)))
    place = os.open(tmp_path, os.O_RDONLY)
    name = os.ttyname(theirs)
    socket.send_fds(control.socket, [keeper.REQUEST.pack(1)], [content, theirs, theirs, theirs, place])
    for descriptor in (content, place, theirs):
        os.close(descriptor)
    control.reports(4)
    assert os.read(ours, 4096).split() == [name.encode(), b"here"]
    os.close(ours)


def test_a_start_that_takes_long_is_reported_before_it_is_over(kept: Keeper, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cgroup.procs")  # its opening waits for a reader
    control = kept.supervisor()
    control.ask(1, plan("true", cgroup=str(tmp_path)), tmp_path)
    assert [report[0] for report in control.reports(1)] == ["FORKED"]
    assert (tmp_path / "cgroup.procs").read_text() == "0"
    assert [report[0] for report in control.reports(3)] == ["STARTED", "EXITED", "EMPTY"]
