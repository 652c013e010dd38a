"""The two process tables, held against each other and against a process that is known."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from pagent.jobs import portable
from pagent.jobs.system import MARK, Process, System
from tests.jobs.conftest import PYTHON

TABLES: list[ModuleType] = [portable]
if sys.platform == "linux":
    from pagent.jobs import procfs

    TABLES.append(procfs)

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@pytest.fixture(params=TABLES, ids=lambda module: module.__name__.rsplit(".", 1)[1])
def system(request: pytest.FixtureRequest) -> System:
    table: System = request.param
    return table


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process of an odd name, with a mark, a second thread that has a child, and a listening socket.

    It writes the pid of its child and its port.
    """
    script = """
import socket, subprocess, sys, threading
listening = socket.create_server(("127.0.0.1", 0))
def other():
    with subprocess.Popen(["sleep", "1000"]) as child:
        print(child.pid, listening.getsockname()[1], flush=True)
thread = threading.Thread(target=other)
open("/proc/self/comm", "w").write("a) Z 1 (") if sys.platform == "linux" else None
thread.start()
"""
    with subprocess.Popen(
        [PYTHON, "-c", script], stdout=subprocess.PIPE, env=os.environ | {MARK: "ümark"}, start_new_session=True
    ) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):  # a test may have ended the whole group
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def running(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose exec(2) is over: the kernel shows no environment before that."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"x")
            assert process.stdout.read(1) == b"x"
            yield process
        finally:
            process.kill()


def found(process: Process | None) -> Process:
    assert process is not None
    return process


def test_a_process(system: System, child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    grandchild, port = map(int, child.stdout.readline().split())
    process = found(system.stat(child.pid))
    assert process.alive
    assert process.state not in "ZX"
    assert (process.pid, process.parent, process.session) == (child.pid, os.getpid(), child.pid)
    assert process.rss_bytes > 1_000_000
    assert process.cpu_s < 60
    assert system.children(child.pid) == [grandchild]
    assert child.pid in system.children(os.getpid())
    assert child.pid in system.own_children()
    assert {child.pid, grandchild, os.getpid()} <= {process.pid for process in system.everyone()}
    assert found(system.stat(grandchild)).started >= process.started
    mark = system.mark(child.pid)
    assert mark is not None
    assert mark.endswith("mark")
    assert system.listens(port, [child.pid]) is True
    assert system.listens(port, [grandchild, os.getpid()]) is False
    assert system.listens(port, []) is False
    assert list(system.listening([child.pid])) == [("127.0.0.1", port)]
    assert list(system.listening([grandchild])) == []


def test_signals_reach_only_the_very_process(system: System, child: subprocess.Popen[bytes]) -> None:
    process = found(system.stat(child.pid))
    assert not system.send(process._replace(started=process.started - 1), signal.SIGKILL)
    assert child.poll() is None
    assert system.send(process, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie = found(system.stat(child.pid))
    assert zombie.key == process.key
    assert not zombie.alive
    child.wait()
    assert system.stat(child.pid) is None
    assert not system.send(process, signal.SIGKILL)
    assert system.children(child.pid) == []
    assert not system.mark(child.pid)
    os.kill(os.getpid(), 0)


def test_stopped_is_a_state(system: System, child: subprocess.Popen[bytes]) -> None:
    assert system.send(found(system.stat(child.pid)), signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    assert found(system.stat(child.pid)).state == "T"


def test_no_listener_of_a_port_nobody_has(system: System) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert system.listens(bound.getsockname()[1], [os.getpid()]) is False
        bound.listen()
        assert system.listens(bound.getsockname()[1], [os.getpid()]) is True
        assert bound.getsockname()[:2] in set(system.listening([os.getpid()]))


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_a_listener_on_all_addresses(system: System) -> None:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        assert system.listens(listening.getsockname()[1], [os.getpid()]) is True
        assert listening.getsockname()[:2] in set(system.listening([os.getpid()]))


def test_the_present_is_not_before_the_past(system: System, child: subprocess.Popen[bytes]) -> None:
    before = system.now()
    with subprocess.Popen(["sleep", "1000"]) as young:
        started = found(system.stat(young.pid)).started
        young.kill()
    assert found(system.stat(child.pid)).started - 1 <= before - 1 <= started <= system.now() + 1


@linux
def test_an_exit_descriptor_becomes_readable(child: subprocess.Popen[bytes]) -> None:
    import select

    process = found(procfs.stat(child.pid))
    descriptor = procfs.exit_descriptor(process)
    assert descriptor is not None
    assert descriptor >= 0
    assert select.select([descriptor], [], [], 0)[0] == []
    os.killpg(child.pid, signal.SIGKILL)
    assert select.select([descriptor], [], [], 30)[0] == [descriptor]
    os.close(descriptor)
    child.wait()
    assert procfs.exit_descriptor(process) == -1
    assert procfs.exit_descriptor(found(procfs.stat(os.getpid()))._replace(started=-1)) == -1


@linux
def test_no_environment_is_not_an_environment_without_a_mark() -> None:
    with running({}) as bare, running({"A": ""}) as empty:
        assert procfs.mark(bare.pid) is None
        assert procfs.mark(empty.pid) == ""


@linux
def test_a_mark_behind_a_large_environment() -> None:
    large = {f"V{number}": "x" * 100_000 for number in range(9)}
    with running(os.environ | large | {MARK: "m"}) as process:
        assert procfs.mark(process.pid) == "m"


@linux
def test_a_process_whose_first_thread_ended_is_alive() -> None:
    script = """
import ctypes, os, threading, time
def other():
    while open(f"/proc/{os.getpid()}/stat").read().split()[2] != "Z":
        time.sleep(0.005)
    print("so", flush=True)
    time.sleep(1000)
threading.Thread(target=other).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    with subprocess.Popen([PYTHON, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"so\n"
            assert found(procfs.stat(process.pid)).alive
        finally:
            process.kill()


@linux
def test_the_kernel_is_offered_the_job_first(child: subprocess.Popen[bytes]) -> None:
    def score(pid: int | str) -> int:
        with open(f"/proc/{pid}/oom_score_adj") as file:
            return int(file.read())

    procfs.sacrifice(child.pid)
    assert score(child.pid) == min(1000, score("self") + 500)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    procfs.sacrifice(child.pid)


@linux
def test_boot_and_clock() -> None:
    assert len(procfs.boot_id()) == 36
    assert procfs.now() > 0
    assert portable.now() <= time.time()
