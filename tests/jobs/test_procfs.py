"""Processes on Linux, as /proc lists them; ``test_system`` has the tests for all systems."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.jobs.system import Process
from tests.jobs.conftest import PYTHON

if sys.platform != "linux":
    pytest.skip("Linux only", allow_module_level=True)

from pagent.jobs import procfs


def found(process: Process | None) -> Process:
    assert process is not None
    return process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_a_row_of_the_table(sleeper: subprocess.Popen[bytes]) -> None:
    process = found(procfs.stat(sleeper.pid))
    assert (process.pid, process.parent, process.session) == (sleeper.pid, os.getpid(), os.getsid(0))
    assert process.alive
    assert process.started >= found(procfs.stat(os.getpid())).started
    assert process.key in [row.key for row in procfs.all_processes()]


def test_a_process_that_has_ended_is_a_zombie_and_then_gone(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not found(procfs.stat(sleeper.pid)).alive
    sleeper.wait()
    assert procfs.stat(sleeper.pid) is None
    assert procfs.folder(sleeper.pid) is None
    assert procfs.children(sleeper.pid) == []


def test_more_children_than_one_read_returns() -> None:
    script = """
import os, signal
for _ in range(1500):
    if os.fork() == 0:
        signal.pause()
print(flush=True)
signal.pause()
"""
    command = [PYTHON, "-I", "-S", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert len(set(procfs.children(process.pid))) == 1500
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_children_without_the_files_that_list_them(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sleeper.pid in procfs.own_children()
    monkeypatch.setattr(procfs, "_lists_children", lambda: False)
    assert sleeper.pid in procfs.own_children()
    assert sleeper.pid in procfs.children(os.getpid())


def test_a_subreaper_adopts() -> None:
    assert procfs.has_subreapers()
    assert procfs.set_subreaper(True)
    try:
        assert procfs.adopts()
        with subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            orphan = int(process.stdout.readline())
            process.wait()
            assert orphan in procfs.own_children()
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)
    finally:
        assert procfs.set_subreaper(False)
    assert not procfs.adopts()


@pytest.mark.parametrize("by_descriptor", [True, False])
def test_a_signal_goes_to_that_very_process(
    sleeper: subprocess.Popen[bytes], by_descriptor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procfs, "has_pidfd", lambda: by_descriptor)
    process = found(procfs.stat(sleeper.pid))
    assert not procfs.send((process.pid, process.started + 1), signal.SIGTERM)
    assert procfs.send(process.key, signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM


def test_without_pidfds_signals_go_by_number(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    process = found(procfs.stat(sleeper.pid))
    monkeypatch.setattr(procfs, "has_pidfd", lambda: False)
    assert not procfs.send((process.pid, process.started - 1), signal.SIGKILL)
    assert procfs.send(process.key, signal.SIGKILL)
    assert sleeper.wait() == -signal.SIGKILL
    assert not procfs.send(process.key, signal.SIGKILL)


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


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with subprocess.Popen(["sleep", "1000"], cwd=folder) as process:
        folder.rmdir()
        assert procfs.folder(process.pid) == str(folder)
        process.kill()
