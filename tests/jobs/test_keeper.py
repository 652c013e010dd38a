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

from pagent import limits
from pagent.jobs.keeper import protocol
from pagent.jobs.keeper.ending import GRACE_S, descendants
from pagent.jobs.keeper_client import keeper_command
from pagent.jobs.tree import NATIVE
from tests.jobs.conftest import PATIENCE_S, PYTHON, is_alive

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

KINDS = ("SUPERVISOR", "FORKED", "FAILED", "EXITED", "EMPTY")


class Control:
    """The agent's end of a control socket."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        end.settimeout(PATIENCE_S)
        self.pid = 0
        self._settled: dict[int, int] = {}

    def reports(self, count: int) -> list[tuple[str, int, int]]:
        """Return ``count`` reports, without start times: kind, run, number."""
        return [report[:3] for report in self.whole_reports(count)]

    def whole_reports(self, count: int) -> list[tuple[str, int, int, int]]:
        found = []
        for _ in range(count):
            data = self.socket.recv(protocol.REPORT.size, socket.MSG_WAITALL)
            kind, *rest = protocol.REPORT.unpack(data)
            found.append((KINDS[kind], *rest))
        return found

    def ask(self, run: int, plan: dict[str, Any], folder: Path, out: int | None = None) -> None:
        content = os.memfd_create("plan")
        os.write(content, marshal.dumps(plan))
        nothing = os.open(os.devnull, os.O_RDWR)
        place = os.open(folder, os.O_RDONLY)
        stdout = nothing if out is None else out
        self._settled[run], settling = os.pipe()
        descriptors = [content, nothing, stdout, stdout, place, settling]
        socket.send_fds(self.socket, [protocol.REQUEST.pack(run)], descriptors)
        for descriptor in (content, nothing, place, settling):
            os.close(descriptor)

    def failure(self, run: int) -> tuple[int, int] | None:
        """Wait until the child is its program, or return the error and the step that it has failed with."""
        with open(self._settled.pop(run), "rb") as pipe:
            data = pipe.read()
        return protocol.FAILURE.unpack(data) if data else None

    def close(self) -> None:
        self.socket.close()
        for settled in self._settled.values():
            os.close(settled)
        self._settled.clear()

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
                keeper_command(theirs.fileno()),
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
            control.close()
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
    forked, exited, empty = control.reports(3)
    assert forked[:2] == ("FORKED", 7)
    assert control.failure(7) is None
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
    _, exited, _ = control.reports(3)
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
    control.reports(3)
    table = dict(line.split() for line in (tmp_path / "out").read_text().splitlines())
    # The C library keeps two signals for itself, and lets no program change them.
    changeable = sum(1 << (number - 1) for number in signal.valid_signals())
    assert (int(table["SigBlk:"], 16), int(table["SigIgn:"], 16) & changeable) == (0, 0)


@pytest.mark.parametrize(
    ("program", "number", "step"),
    [
        ("no-such-program", errno.ENOENT, protocol.EXECUTE),
        ("./file", errno.EACCES, protocol.EXECUTE),
        ("./no/file", errno.ENOENT, protocol.EXECUTE),
        ("file/x", errno.ENOTDIR, protocol.EXECUTE),
        ("inaccessible", errno.EACCES, protocol.EXECUTE),
    ],
)
def test_a_program_that_cannot_be_executed(kept: Keeper, tmp_path: Path, program: str, number: int, step: int) -> None:
    (tmp_path / "file").write_text("not executable")
    (tmp_path / "inaccessible").write_text("not executable")
    control = kept.supervisor()
    control.ask(1, plan(program, env={"PATH": "/nowhere:/etc/passwd:."}), tmp_path)
    assert [report[0] for report in control.reports(3)] == ["FORKED", "EXITED", "EMPTY"]
    assert control.failure(1) == (number, step)
    assert control.ended()


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"cgroup": "/no/such/group"}, protocol.CONFINE),
        ({"limits": {"NOFILE": [2**62, 1]}}, protocol.CONFINE),
        ({"limits": {"NO_SUCH": [1, 1]}}, protocol.CONFINE),
        ({"environment": {"A=B\0": "C"}}, protocol.EXECUTE),
        ({"args": []}, protocol.EXECUTE),
        ({"program": "a\0b"}, protocol.EXECUTE),
    ],
)
def test_a_plan_that_cannot_be_carried_out(kept: Keeper, tmp_path: Path, options: dict[str, Any], step: int) -> None:
    control = kept.supervisor()
    control.ask(1, plan("true", **options), tmp_path)
    assert [report[0] for report in control.reports(3)] == ["FORKED", "EXITED", "EMPTY"]
    failure = control.failure(1)
    assert failure is not None
    assert failure[1] == step


def test_a_plan_that_is_none(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    control.ask(1, {}, tmp_path)
    assert [report[0] for report in control.reports(3)] == ["FORKED", "EXITED", "EMPTY"]
    assert control.failure(1) == (errno.EINVAL, protocol.CONFINE)


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


# --- the end of the agent -----------------------------------------------------------------------------

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


def test_what_a_killed_supervisor_leaves_is_reported_by_the_keeper(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    os.mkfifo(tmp_path / "go")
    control.ask(1, plan("sh", "-c", "kill -9 $PPID; read line < go; exit 7"), tmp_path)
    (forked, *_) = control.reports(1)
    until(lambda: NATIVE.children(kept.process.pid) == [forked[2]])
    (tmp_path / "go").write_text("\n")
    kind, pid, status, _ = protocol.REPORT.unpack(kept.socket.recv(protocol.REPORT.size))
    assert (KINDS[kind], pid, os.waitstatus_to_exitcode(status)) == ("EXITED", forked[2], 7)


def test_a_process_is_reported_before_it_can_kill_its_supervisor(kept: Keeper, tmp_path: Path) -> None:
    for _ in range(20):
        control = kept.supervisor()
        control.ask(1, plan("sh", "-c", "kill -9 $PPID"), tmp_path)
        assert control.reports(1)[0][:2] == ("FORKED", 1)


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


def test_a_terminal(kept: Keeper, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    control = kept.supervisor()
    content = os.memfd_create("plan")
    os.write(content, marshal.dumps(plan("sh", "-c", "tty; echo here > /dev/tty", terminal=True)))
    place = os.open(tmp_path, os.O_RDONLY)
    name = os.ttyname(theirs)
    socket.send_fds(control.socket, [protocol.REQUEST.pack(1)], [content, theirs, theirs, theirs, place, place])
    for descriptor in (content, place, theirs):
        os.close(descriptor)
    control.reports(3)
    assert os.read(ours, 4096).split() == [name.encode(), b"here"]
    os.close(ours)


def test_a_start_that_takes_long_is_reported_before_it_is_over(kept: Keeper, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cgroup.procs")  # its opening waits for a reader
    control = kept.supervisor()
    control.ask(1, plan("true", cgroup=str(tmp_path)), tmp_path)
    assert [report[0] for report in control.reports(1)] == ["FORKED"]
    assert (tmp_path / "cgroup.procs").read_text() == "0"
    assert control.failure(1) is None
    assert [report[0] for report in control.reports(2)] == ["EXITED", "EMPTY"]
