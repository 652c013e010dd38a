"""What a dead agent has left is ended and deleted, and nothing else is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.jobs.orphans import AgentFolder, sweep
from pagent.jobs.system import MARK
from pagent.jobs.tree import NATIVE
from tests.jobs.conftest import is_alive

Sleeper = subprocess.Popen[bytes]


@pytest.fixture
def sleepers() -> Iterator[list[Sleeper]]:
    started: list[Sleeper] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def sleeper(sleepers: list[Sleeper], mark: str | None = None) -> Sleeper:
    environment = {**os.environ, **({} if mark is None else {MARK: mark})}
    process = subprocess.Popen(["sleep", "1000"], env=environment, start_new_session=True)
    sleepers.append(process)
    # Popen returns once the program is being executed: it has its environment.
    return process


def dead_agent(root: Path, uid: str, process: Sleeper | None = None) -> Path:
    """A folder as an agent leaves it that was killed."""
    folder = AgentFolder.create(root)
    (folder.path / uid).mkdir()
    (folder.path / uid / "file").write_text("left")
    if process is not None:
        found = NATIVE.stat(process.pid)
        assert found is not None
        folder.record(uid, found)
    os.close(folder._lock)  # as the kernel does
    return folder.path


def test_a_recorded_process_and_its_folder_go(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    process = sleeper(sleepers)
    path = dead_agent(tmp_path, "1" * 32, process)
    assert sweep(tmp_path) == 1
    assert process.wait() == -9
    assert not path.exists()
    assert sweep(tmp_path) == 0


def test_a_marked_process_without_a_record_goes(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    process = sleeper(sleepers, mark="outer:" + "2" * 32)
    dead_agent(tmp_path, "2" * 32)
    assert sweep(tmp_path) == 1
    assert process.wait() == -9


def test_a_living_agent_is_left_alone(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    process = sleeper(sleepers, mark="3" * 32)
    folder = AgentFolder.create(tmp_path)
    (folder.path / ("3" * 32)).mkdir()
    assert sweep(tmp_path) == 0
    assert is_alive(process.pid)
    assert folder.path.is_dir()
    folder.remove()


@pytest.mark.parametrize("changed", [{"started": 1}, {"boot": "another run of the system"}, {"pid": -1}])
def test_a_pid_that_is_anothers_by_now(tmp_path: Path, sleepers: list[Sleeper], changed: dict[str, object]) -> None:
    process = sleeper(sleepers)
    path = dead_agent(tmp_path, "4" * 32, process)
    uid, pid, started, boot = (path / "lock").read_text("ascii").split()
    record = {"uid": uid, "pid": pid, "started": started, "boot": boot} | changed
    (path / "lock").write_text(" ".join(map(str, record.values())))
    assert sweep(tmp_path) == 0
    assert is_alive(process.pid)
    assert not path.exists()


@pytest.mark.parametrize(
    "record", [b"", b"{", b"x" * 5000, b"5 PID", b"5 PID STARTED", b"5 PID nan BOOT", b"\0\xff PID STARTED BOOT"]
)
def test_records_that_make_no_sense(tmp_path: Path, sleepers: list[Sleeper], record: bytes) -> None:
    process = sleeper(sleepers)
    found = NATIVE.stat(process.pid)
    assert found is not None
    path = dead_agent(tmp_path, "5" * 32)
    record = record.replace(b"PID", b"%d" % found.pid).replace(b"STARTED", b"%d" % found.started)
    (path / "lock").write_bytes(record.replace(b"BOOT", NATIVE.boot_id().encode("ascii")))
    assert sweep(tmp_path) == 0
    assert is_alive(process.pid)
    assert not path.exists()


def test_the_place_of_a_job_that_is_gone_is_anothers(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    folder = AgentFolder.create(tmp_path)
    processes = [sleeper(sleepers) for _ in range(4)]
    for number, process in enumerate(processes):
        found = NATIVE.stat(process.pid)
        assert found is not None
        folder.record(f"{number}" * 32, found)
        if number == 1:
            folder.forget("0" * 32)
            processes[0].kill()
            processes[0].wait()
    size = (folder.path / "lock").stat().st_size
    os.close(folder._lock)  # as the kernel does
    assert sweep(tmp_path) == 3
    assert [process.wait() for process in processes] == [-9] * 4
    assert size % 3 == 0
    assert sweep(tmp_path) == 0


def test_what_is_no_agents_stays(tmp_path: Path) -> None:
    (tmp_path / "pagent-file").write_text("a file")
    (tmp_path / "pagent-folder").mkdir()
    (tmp_path / "other").mkdir()
    outside = tmp_path / "other" / "kept"
    outside.write_text("kept")
    (tmp_path / "pagent-link").symlink_to(tmp_path / "other")
    trap = tmp_path / "pagent-trap"
    trap.mkdir()
    (trap / "lock").symlink_to(outside)
    assert sweep(tmp_path) == 0
    assert outside.read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == ["other", "pagent-file", "pagent-folder", "pagent-link", "pagent-trap"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a folder of another user")
def test_what_another_user_has_put_there_stays(tmp_path: Path) -> None:
    path = dead_agent(tmp_path, "6" * 32)
    os.chown(path, 65534, 65534)
    assert sweep(tmp_path) == 0
    assert path.is_dir()


def test_a_folder_is_unlocked_and_gone_behind_its_end(tmp_path: Path) -> None:
    folder = AgentFolder.create(tmp_path)
    folder.forget("no such job")
    folder.remove()
    folder.remove()
    assert os.listdir(tmp_path) == []


def test_no_folder_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AgentFolder.create(tmp_path / "nowhere")


# --- cleaners of temporary files --------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
def test_the_folder_is_locked_as_long_as_its_agent_lives(tmp_path: Path) -> None:
    import fcntl

    folder = AgentFolder.create(tmp_path)
    descriptor = os.open(folder.path, os.O_RDONLY)
    for kind in (fcntl.LOCK_SH, fcntl.LOCK_EX):  # cleaners try one of these
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    folder.remove()
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_folder_that_is_made_anew_has_the_records_and_the_mode(tmp_path: Path) -> None:
    folder = AgentFolder.create(tmp_path)
    folder.path.chmod(0o711)
    records = (folder.path / "lock").read_bytes()
    assert folder.there() == folder.path
    before = len(os.listdir("/dev/fd"))
    shutil.rmtree(folder.path)
    new = folder.there()
    assert new.stat().st_mode & 0o777 == 0o711
    assert (new / "lock").read_bytes() == records
    assert folder.there() == new
    assert len(os.listdir("/dev/fd")) == before
    assert sweep(tmp_path) == 0
    assert new.is_dir()
    folder.remove()
    assert list(tmp_path.iterdir()) == []
