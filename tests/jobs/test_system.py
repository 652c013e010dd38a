"""The two process tables, held against each other and against a process that is known."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from pagent.jobs import portable
from pagent.jobs.system import Process, System
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
    """A process of an odd name, with a second thread that has a child, and a listening socket.

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
    with subprocess.Popen([PYTHON, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):  # a test may have ended the whole group
            os.killpg(process.pid, signal.SIGKILL)


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
    assert {child.pid, grandchild, os.getpid()} <= {process.pid for process in system.all_processes()}
    assert found(system.stat(grandchild)).started >= process.started
    assert system.folder(child.pid) == os.getcwd()
    assert list(system.listening([child.pid])) == [("127.0.0.1", port)]
    assert list(system.listening([grandchild])) == []


def test_signals_reach_only_the_very_process(system: System, child: subprocess.Popen[bytes]) -> None:
    process = found(system.stat(child.pid))
    assert not system.send((process.pid, process.started - 1), signal.SIGKILL)
    assert child.poll() is None
    assert system.send(process.key, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie = found(system.stat(child.pid))
    assert zombie.key == process.key
    assert not zombie.alive
    child.wait()
    assert system.stat(child.pid) is None
    assert not system.send(process.key, signal.SIGKILL)
    assert system.children(child.pid) == []
    assert system.folder(child.pid) is None
    os.kill(os.getpid(), 0)


def test_stopped_is_a_state(system: System, child: subprocess.Popen[bytes]) -> None:
    assert system.send(found(system.stat(child.pid)).key, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    assert found(system.stat(child.pid)).state == "T"


def test_no_listener_of_a_free_port(system: System) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert bound.getsockname()[:2] not in set(system.listening([os.getpid()]))
        bound.listen()
        assert bound.getsockname()[:2] in set(system.listening([os.getpid()]))


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_a_listener_on_all_addresses(system: System) -> None:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        assert listening.getsockname()[:2] in set(system.listening([os.getpid()]))


@pytest.mark.parametrize("table", TABLES)
def test_names_of_the_machine_and_of_its_run(table: ModuleType) -> None:
    assert table.machine_id()
    assert " " not in table.machine_id() + table.boot_id()
    assert len(table.machine_id()) <= 64
    assert len(table.boot_id()) <= 64


def test_a_process_that_exits(system: System, child: subprocess.Popen[bytes]) -> None:
    assert not system.is_exiting(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert system.is_exiting(child.pid)
    child.wait()
    assert system.is_exiting(child.pid)
