"""Processes and folders of a dead agent are ended and deleted, and nothing else is touched."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pagent.jobs import orphans
from pagent.jobs.orphans import AgentFolder, sweep
from pagent.jobs.system import Process, System
from pagent.jobs.tree import NATIVE
from tests.jobs.conftest import PATIENCE_S, is_alive

Sleeper = subprocess.Popen[bytes]


def written(path: Path) -> str:
    """Return the content of a file that a process makes by a rename."""
    give_up = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < give_up
        time.sleep(0.005)
    return path.read_text()


@pytest.fixture
def sleepers() -> Iterator[list[Sleeper]]:
    started: list[Sleeper] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def sleeper(sleepers: list[Sleeper], cwd: Path | None = None, script: str = "exec sleep 1000") -> Sleeper:
    process = subprocess.Popen(["sh", "-c", script], cwd=cwd, start_new_session=True)
    sleepers.append(process)
    return process


def key(process: Sleeper) -> tuple[int, float]:
    found = NATIVE.stat(process.pid)
    assert found is not None
    return found.key


def dead_agent(root: Path, uid: str, supervisor: Sleeper | None = None, main: Sleeper | None = None) -> Path:
    """A folder as an agent leaves it that was killed."""
    folder = AgentFolder.create(root)
    (folder.path / uid).mkdir()
    (folder.path / uid / "file").write_text("left")
    if supervisor is not None:
        folder.record(uid, key(supervisor))
        if main is not None:
            folder.record(uid, key(supervisor), key(main))
    folder.release()  # as the kernel does
    return folder.path


def test_a_recorded_supervisor_its_descendants_and_the_folder_go(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    process = sleeper(
        sleepers, script="setsid env -i sleep 1000 & echo $! > child.tmp; mv child.tmp child; wait", cwd=tmp_path
    )
    child = int(written(tmp_path / "child"))
    path = dead_agent(tmp_path, "1" * 32, process)
    assert sweep(tmp_path) == 1  # the supervisor is none of the job's
    assert process.wait() == -9
    assert not is_alive(child)
    assert not path.exists()
    assert sweep(tmp_path) == 0


def test_without_their_supervisor_sessions_and_folders_tell(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    supervisor, main, other = (sleeper(sleepers) for _ in range(3))
    path = dead_agent(tmp_path, "2" * 32, supervisor, main)
    supervisor.kill()
    supervisor.wait()
    in_sandbox = sleeper(sleepers, cwd=path / ("2" * 32))
    assert sweep(tmp_path) == 2
    assert main.wait() == -9
    assert in_sandbox.wait() == -9
    assert is_alive(other.pid)


def test_a_job_without_a_main_process_yet_has_no_session(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    """Session 0 is that of processes that the kernel or another namespace has started: of no job."""
    path = dead_agent(tmp_path, "7" * 32, sleeper(sleepers))
    lock = os.open(path / "lock", os.O_RDONLY)
    records = orphans.read_records(lock)
    os.close(lock)
    assert [record.main for record in records] == [(0, 0)]
    other = Process(99, 1, 0, "S", 10.0**9, 0.0, 0)
    table = SimpleNamespace(boot_id=NATIVE.boot_id, all_processes=lambda: [other], folder=lambda pid: "/")
    assert orphans.find_orphans(records, str(path), cast(System, table)) == []


def test_what_has_started_the_sweep_is_spared(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    """An operator looks around in a dead agent's folder and starts the next agent there."""
    path = dead_agent(tmp_path, "8" * 32)
    sandbox = path / ("8" * 32)
    left = sleeper(sleepers, cwd=sandbox)
    sweeping = f"from pathlib import Path; from pagent.jobs.orphans import sweep; print(sweep(Path({str(tmp_path)!r})))"
    shell = subprocess.run(
        ["sh", "-c", f'{shlex.quote(sys.executable)} -c "$0" && echo "the shell lives"', sweeping],
        cwd=sandbox,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert shell.stdout.split(b"\n") == [b"1", b"the shell lives", b""], shell.stderr
    assert left.wait() == -9


def test_a_session_whose_number_is_used_again(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    supervisor = sleeper(sleepers)
    script = "sleep 1000 & echo $! > child.tmp; mv child.tmp child; exec sleep 1000"
    leader = sleeper(sleepers, script=script, cwd=tmp_path)
    child = int(written(tmp_path / "child"))
    path = dead_agent(tmp_path, "9" * 32, supervisor)
    earlier = (leader.pid, key(leader)[1] - 1.0)
    lock = os.open(path / "lock", os.O_RDWR)
    records = [record._replace(main=earlier) for record in orphans.read_records(lock)]
    os.close(lock)
    assert [found.pid for found in orphans.find_orphans(records, str(path), NATIVE)] == [supervisor.pid]
    assert is_alive(child)


def test_members_of_a_session_whose_leader_has_ended(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    supervisor = sleeper(sleepers)
    script = "sleep 1000 & echo $! > child.tmp; mv child.tmp child; exec sleep 1000"
    main = sleeper(sleepers, script=script, cwd=tmp_path)
    child = int(written(tmp_path / "child"))
    path = dead_agent(tmp_path, "3" * 32, supervisor, main)
    for process in (supervisor, main):
        process.kill()
        process.wait()
    assert is_alive(child)
    assert sweep(tmp_path) == 1
    assert not is_alive(child)
    assert not path.exists()


@pytest.mark.parametrize(
    ("machine", "boot", "kept"),
    [
        ("another", "another", True),
        ("another", "this", False),
        ("this", "another", False),
        (None, None, True),
    ],
)
def test_an_agent_of_another_machine_is_left_alone(
    tmp_path: Path, machine: str | None, boot: str | None, kept: bool, sleepers: list[Sleeper]
) -> None:
    """A lock on a shared file system may be known to its own machine only."""
    path = dead_agent(tmp_path, "4" * 32)
    process = sleeper(sleepers, cwd=path / ("4" * 32))
    names = {"this": (NATIVE.machine_id(), NATIVE.boot_id()), "another": ("f" * 32, "an/other")}
    if machine is None or boot is None:
        (path / "lock").write_text("")
    else:
        (path / "lock").write_text(f"host {names[machine][0]} {names[boot][1]}".ljust(191) + "\n")
    assert sweep(tmp_path) == (0 if kept else 1)
    assert path.exists() is kept
    assert is_alive(process.pid) is kept


def test_a_living_agent_is_left_alone(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    folder = AgentFolder.create(tmp_path)
    (folder.path / ("3" * 32)).mkdir()
    process = sleeper(sleepers, cwd=folder.path / ("3" * 32))
    assert sweep(tmp_path) == 0
    assert is_alive(process.pid)
    assert folder.path.is_dir()
    folder.remove()


def test_a_folder_that_is_deleted_meanwhile_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Path, "glob", lambda root, pattern: [root / "pagent-gone"])
    assert sweep(tmp_path) == 0
    assert caplog.messages == []


@pytest.mark.parametrize("changed", [{"started": 1}, {"boot": "another/run"}, {"pid": -1}])
def test_a_pid_that_is_anothers_by_now(tmp_path: Path, sleepers: list[Sleeper], changed: dict[str, object]) -> None:
    process = sleeper(sleepers)
    path = dead_agent(tmp_path, "4" * 32, process)
    host, line = (path / "lock").read_text("ascii").splitlines()
    uid, pid, started, main, main_started, boot = line.split()
    record = {"uid": uid, "pid": pid, "started": started, "main": main, "main_started": main_started, "boot": boot}
    (path / "lock").write_text(f"{host}\n{' '.join(map(str, (record | changed).values()))}")
    assert sweep(tmp_path) == 0
    assert is_alive(process.pid)
    assert not path.exists()


@pytest.mark.parametrize(
    "record",
    [b"", b"{", b"x" * 5000, b"5 PID", b"5 PID STARTED", b"5 PID nan 0 0 BOOT", b"\0\xff PID STARTED 0 0 BOOT"],
)
def test_records_that_make_no_sense(tmp_path: Path, sleepers: list[Sleeper], record: bytes) -> None:
    process = sleeper(sleepers)
    pid, started = key(process)
    path = dead_agent(tmp_path, "5" * 32)
    record = record.replace(b"PID", b"%d" % pid).replace(b"STARTED", b"%d" % started)
    with (path / "lock").open("ab") as file:
        file.write(record.replace(b"BOOT", NATIVE.boot_id().encode("ascii")))
    assert sweep(tmp_path) == 0
    assert is_alive(process.pid)
    assert not path.exists()


def test_the_place_of_a_job_that_is_gone_is_anothers(tmp_path: Path, sleepers: list[Sleeper]) -> None:
    folder = AgentFolder.create(tmp_path)
    processes = [sleeper(sleepers) for _ in range(4)]
    for number, process in enumerate(processes):
        folder.record(f"{number}" * 32, key(process))
        if number == 1:
            folder.forget("0" * 32)
            processes[0].kill()
            processes[0].wait()
    size = (folder.path / "lock").stat().st_size
    folder.release()  # as the kernel does
    assert sweep(tmp_path) == 0  # they were recorded as supervisors
    assert [process.wait() for process in processes] == [-9] * 4
    assert size % 4 == 0
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


def test_a_folder_is_unlocked_and_gone_after_its_end(tmp_path: Path) -> None:
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
