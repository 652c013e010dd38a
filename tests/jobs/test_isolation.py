"""Confinement of jobs, each kind by itself, with real processes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
import shutil
import signal
import stat
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pagent.config.model import IsolationSettings
from pagent.errors import ConfigError
from pagent.files.archive import ArchiveUpload
from pagent.files.upload import Upload
from pagent.jobs import isolation
from pagent.jobs.isolation import Confinement, Group
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.runtime.threads import ThreadPool
from tests.jobs.conftest import PATIENCE_S, PYTHON, gone, is_alive, line_of, owner

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

#: Prints the rights and limits of the process itself.
SHOW = """
import json, os, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "user": os.getresuid(), "group": os.getresgid(), "groups": os.getgroups(),
    "no_new_privs": status["NoNewPrivs"].strip(), "ignored": status["SigIgn"].strip(),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE), "processes": resource.getrlimit(resource.RLIMIT_NPROC),
    "memory": resource.getrlimit(resource.RLIMIT_AS), "cpu": resource.getrlimit(resource.RLIMIT_CPU),
    "cwd": os.getcwd(), "open": sorted(os.listdir("/proc/self/fd")), "cgroup": open("/proc/self/cgroup").read(),
    "session": os.getsid(0) == os.getpid(),
    "environment": open("/proc/self/environ", "rb").read().decode("utf-8", "surrogateescape").split(chr(0)),
}))
"""


@asynccontextmanager
async def disk_threads() -> AsyncIterator[ThreadPool]:
    threads = ThreadPool("disk", 1)
    yield threads
    await threads.close(10)


@asynccontextmanager
async def confined(root: Path, **wanted: Any) -> AsyncIterator[JobManager]:
    manager = JobManager(root=root, properties={}, isolation=IsolationSettings(**wanted))
    manager.endpoint = "http://127.0.0.1:1/job_started"
    try:
        yield manager
    finally:
        now = asyncio.Event()
        now.set()
        async with asyncio.timeout(PATIENCE_S):
            await manager.shutdown(now=now)
    assert os.listdir(root) == []


async def run(manager: JobManager, *args: str, env: dict[str, str] | None = None) -> Job:
    job = manager.create(owner(), "confined")
    await manager.start(job, args, env, None, 0)
    async with asyncio.timeout(PATIENCE_S):
        await manager.wait(job)
    return job


def said(job: Job, name: str = "stdout") -> str:
    return (job.sandbox.path / f".pagent.{name}").read_text()


async def seen_by_a_job(manager: JobManager, env: dict[str, str] | None = None) -> dict[str, Any]:
    job = await run(manager, PYTHON_FOR_ALL, "-c", SHOW, env=env)
    assert job.exit_code == 0, said(job, "stderr")
    found: dict[str, Any] = json.loads(said(job))
    return found


#: One that every user may execute.
PYTHON_FOR_ALL = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else PYTHON

Open = Callable[..., Any]


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, subreaper: None) -> Iterator[Path]:
    """A root that other users may pass through; pytest's own folders let no one in."""
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="pagent-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


async def test_nothing_asked_for_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRÖSSE", "a=b\nc")
    monkeypatch.setenv("EMPTY", "")
    confinement = Confinement(IsolationSettings())
    assert confinement.environment() == {
        name: value for name, value in os.environ.items() if name not in ("PWD", "OLDPWD")
    }
    assert confinement.user_id is None
    async with confined(root) as manager:
        own = await seen_by_a_job(manager)
        job = manager.create(owner(), "job")
    assert own["user"] == [os.getuid()] * 3
    assert own["no_new_privs"] == "0"
    # A variable that makes the interpreter ignore others.
    changeable = sum(1 << (number - 1) for number in signal.valid_signals())
    ignored = sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGXFSZ))
    assert int(own["ignored"], 16) & changeable == ignored
    assert own["session"]
    given = dict(item.split("=", 1) for item in own["environment"] if item)
    assert (given["GRÖSSE"], given["EMPTY"]) == ("a=b\nc", "")
    assert given["PWD"] == own["cwd"] != str(job.sandbox.path)


async def test_confinement_changes_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with confined(root) as manager:
        plain = await seen_by_a_job(manager, {"GRÖSSE": "a=b\nc"})
    async with confined(root, no_new_privs=True) as manager:
        confined_one = await seen_by_a_job(manager, {"GRÖSSE": "a=b\nc"})
    assert (plain["no_new_privs"], confined_one["no_new_privs"]) == ("0", "1")
    for found in (plain, confined_one):
        found["environment"] = sorted(item for item in found["environment"] if not item.startswith("PWD="))
        found.pop("cwd")
        found.pop("no_new_privs")
    assert confined_one == plain


@needs_root
async def test_another_user(root: Path) -> None:
    async with confined(root, user="nobody") as manager:
        found = await seen_by_a_job(manager)
        assert found["user"] == [65534] * 3
        assert found["group"] == [65534] * 3
        assert 0 not in found["groups"]
        assert "USER=" + "nobody" in found["environment"]
        script = (
            "echo x > new; mkdir d; echo y > /dev/stdout; cat /dev/stdin given; echo more >> given; ls ..;"
            " cat /proc/1/environ"
        )
        job = manager.create(owner(), "job")
        (job.sandbox.path / "given").write_text("given\n")
        await manager.start(job, ["sh", "-c", script], None, None, 0, stdin=b"typed\n")
        async with asyncio.timeout(PATIENCE_S):
            await manager.wait(job)
        assert said(job).split() == ["y", "typed", "given"]
        assert said(job, "stderr").count("Permission denied") == 2
        assert (job.sandbox.path / "new").stat().st_uid == 65534
        assert (job.sandbox.path / "given").read_text() == "given\nmore\n"
        assert stat.S_IMODE(job.sandbox.path.stat().st_mode) == 0o700


@needs_root
async def test_a_job_of_another_user_is_ended_and_its_sandbox_deleted(root: Path) -> None:
    async with confined(root, user="nobody") as manager:
        job = manager.create(owner(), "job")
        script = "mkdir d; chmod 0 d; trap '' TERM; sleep 1000 & echo $! > pid.tmp; mv pid.tmp pid; wait; sleep 1000"
        await manager.start(job, ["sh", "-c", script], None, None, 0)
        child = int(await line_of(job, "pid"))
        await manager.kill(job, "KILL")
        await gone(child)
        assert job.signal == "SIGKILL"
        await manager.remove(job)
        assert not job.sandbox.path.exists()


@needs_root
async def test_no_way_back_to_root(root: Path) -> None:

    async with confined(root, user="nobody", no_new_privs=True) as manager:
        job = manager.create(owner(), "job")
        shutil.copy("/usr/bin/id", job.sandbox.path / "setuid-id")
        await manager.start(job, ["sleep", "1000"], None, None, 0)
        program = job.sandbox.path / "setuid-id"
        os.chown(program, 0, 0)
        program.chmod(0o4755)
        found: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()
        await manager.execute(job, Collector(found), ["./setuid-id", "-u"], None, tty=False, rows=24, cols=80)
        async with asyncio.timeout(PATIENCE_S):
            assert await found == (b"65534\n", 0)


class Collector:
    """A user of an exec that gathers its output."""

    def __init__(self, found: asyncio.Future[tuple[bytes, int]]) -> None:
        self._ended = found
        self._output = b""

    def exec_output(self, data: bytes) -> None:
        self._output += data

    def exec_input(self, blocked: bool) -> None: ...

    def exec_ended(self, code: int) -> None:
        self._ended.set_result((self._output, code))


async def test_limits(root: Path) -> None:
    wanted = {"max_files": 50, "max_processes": 5000, "max_memory_bytes": 2**31, "max_cpu_seconds": 100}
    async with confined(root, **wanted) as manager:
        found = await seen_by_a_job(manager)
        assert found["files"] == [50, 50]
        assert found["processes"] == [5000, 5000]
        assert found["memory"] == [2**31] * 2
        assert found["cpu"] == [100, 100 + isolation.XCPU_GRACE_S]


async def test_a_limit_of_files_is_felt(root: Path) -> None:
    code = "x = [open('/dev/null') for _ in range(100)]"
    async with confined(root, max_files=50) as manager:
        job = await run(manager, PYTHON_FOR_ALL, "-c", code)
        assert "Too many open files" in said(job, "stderr")


async def test_a_limit_of_memory_is_felt(root: Path) -> None:
    async with confined(root, max_memory_bytes=2**28) as manager:
        job = await run(manager, PYTHON_FOR_ALL, "-c", "x = bytearray(2**29)")
        assert "MemoryError" in said(job, "stderr")


@needs_root
async def test_a_limit_of_processes_is_felt(root: Path) -> None:
    code = "import os\nfor _ in range(5):\n    if os.fork() == 0: os._exit(0)"
    async with confined(root, user="nobody", max_processes=1) as manager:
        job = await run(manager, PYTHON_FOR_ALL, "-c", code)
        assert "BlockingIOError" in said(job, "stderr")


async def test_a_limit_of_cpu_time_is_felt(root: Path) -> None:
    async with confined(root, max_cpu_seconds=1) as manager:
        job = await run(manager, "sh", "-c", "while :; do :; done")
        assert job.signal == "SIGXCPU"


async def test_a_program_that_ignores_the_limit_of_cpu_time_is_killed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "XCPU_GRACE_S", 1)
    async with confined(root, max_cpu_seconds=1) as manager:
        job = await run(manager, "sh", "-c", "trap '' XCPU; while :; do :; done")
        assert job.signal == "SIGKILL"


async def test_a_clean_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    monkeypatch.setenv("GOOD_ONE", "1")
    monkeypatch.setenv("GOOD_TWO", "2")
    async with confined(root, environment=("PATH", "GOOD_*")) as manager:
        found = await seen_by_a_job(manager, {"GIVEN": "3"})
    names = {item.partition("=")[0] for item in found["environment"] if item}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "GOOD_ONE", "GOOD_TWO", "GIVEN"}


@pytest.mark.parametrize("no_new_privs", [False, True], ids=["plain", "launched"])
@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("no-such-program", FileNotFoundError),
        ("./no-such-program", FileNotFoundError),
        ("no/such/program", FileNotFoundError),
        ("/no/such/program", FileNotFoundError),
        ("file/program", NotADirectoryError),
        ("./file", PermissionError),
        ("./folder", PermissionError),
        ("/etc/passwd", PermissionError),
    ],
)
async def test_what_is_no_program(root: Path, no_new_privs: bool, program: str, error: type[OSError]) -> None:
    """With a launcher and without: the same error, which names nothing of this machine."""
    async with confined(root, no_new_privs=no_new_privs) as manager:
        job = manager.create(owner(), "job")
        (job.sandbox.path / "file").write_text("no program")
        (job.sandbox.path / "folder").mkdir()
        with pytest.raises(error) as caught:
            await manager.start(job, [program], None, None, 0)
        assert (caught.value.strerror, caught.value.filename) == (os.strerror(caught.value.errno or 0), program)
        assert (job.state.value, job.exit_code) == ("FINISHED", None)
        assert job.error == str(caught.value)


@pytest.mark.parametrize("no_new_privs", [False, True], ids=["plain", "launched"])
async def test_a_program_of_the_sandbox(root: Path, no_new_privs: bool) -> None:
    async with confined(root, no_new_privs=no_new_privs) as manager:
        job = manager.create(owner(), "job")
        (job.sandbox.path / "folder").mkdir()
        for name in ("program", "folder/program"):
            program = job.sandbox.path / name
            program.write_text(f"#!/bin/sh\necho {name}\n")
            program.chmod(0o755)
        await manager.start(job, ["./program"], None, "folder", 0)
        async with asyncio.timeout(PATIENCE_S):
            await manager.wait(job)
        assert said(job) == "folder/program\n"


async def test_a_second_process_that_is_no_program(root: Path) -> None:
    async with confined(root, no_new_privs=True) as manager:
        job = manager.create(owner(), "job")
        await manager.start(job, ["sleep", "1000"], None, None, 0)
        found: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()
        for program in ("no-such-program", "./no-such-program"):
            with pytest.raises(FileNotFoundError, match=f"'{program}'$"):
                await manager.execute(job, Collector(found), [program], None, tty=False, rows=24, cols=80)


async def test_an_interpreter_that_is_missing(root: Path) -> None:
    async with confined(root, no_new_privs=True) as manager:
        job = manager.create(owner(), "job")
        program = job.sandbox.path / "program"
        program.write_text("#!/no/such/interpreter\n")
        program.chmod(0o755)
        with pytest.raises(FileNotFoundError, match=r"'\./program'$"):
            await manager.start(job, ["./program"], None, None, 0)


@needs_root
async def test_what_comes_later_is_the_users_too(root: Path) -> None:
    """Uploads, archives and the folders that they make, as they are before the job's start."""
    async with confined(root, user="nobody") as manager:
        job = manager.create(owner(), "job")
        async with disk_threads() as disk:

            async def upload(path: str, **options: Any) -> None:
                async with await Upload.open(disk, job.sandbox, path, **options) as upload:
                    await upload.write(b"x" * 300_000)
                    await upload.commit()

            async def part(path: str) -> None:
                async with await Upload.open(disk, job.sandbox, path, partial=True) as upload:
                    await upload.write(b"x" * 300_000)

            await upload("before/file")
            await part("begun-before")
            async with await Upload.open(disk, job.sandbox, "over-the-start/file") as over:
                await over.write(b"x" * 300_000)
                await manager.start(job, ["sleep", "1000"], None, None, 0)
                await over.commit()
            await upload("after/deep/file", executable=True)
            await part("after/part")
            await upload("begun-before", offset=100, partial=True)
            async with ArchiveUpload(disk, job.sandbox) as archive:
                await archive.write(an_archive())
                await archive.finish()
        users = {
            path.relative_to(job.sandbox.path).as_posix(): (path.lstat().st_uid, path.lstat().st_gid)
            for path in job.sandbox.path.rglob("*")
        }
        assert set(users) >= {
            "before/file", "begun-before", "over-the-start/file", "after/deep/file", "after/part.pagent-partial",
            "from-an-archive/folder", "from-an-archive/file",
        }  # fmt: skip
        assert {path: user for path, user in users.items() if user != (65534, 65534)} == {}


def an_archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo("from-an-archive/folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        file = tarfile.TarInfo("from-an-archive/file")
        file.size = 5
        tar.addfile(file, io.BytesIO(b"12345"))
    return buffer.getvalue()


@needs_root
async def test_what_the_job_puts_in_the_way_is_not_given_to_it(root: Path, tmp_path: Path) -> None:
    """Links, and files that are not the agent's: nothing outside changes its owner."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("root's")
    async with confined(root, user="nobody") as manager:
        job = manager.create(owner(), "job")
        await manager.start(job, ["sleep", "1000"], None, None, 0)
        sandbox = job.sandbox.path
        (sandbox / "link").symlink_to(tmp_path / "outside")
        (sandbox / "file").symlink_to(tmp_path / "outside/file")
        place = os.open(sandbox, os.O_RDONLY)
        try:
            for name in ("link", "file"):
                with pytest.raises(FileExistsError):
                    job.sandbox.make_dir(place, name)
        finally:
            os.close(place)
        async with disk_threads() as disk, await Upload.open(disk, job.sandbox, "file") as upload:
            await upload.write(b"replaced")
            await upload.commit()
        assert (sandbox / "file").lstat().st_uid == 65534
        assert (tmp_path / "outside/file").read_text() == "root's"
        assert {path.lstat().st_uid for path in (tmp_path / "outside", tmp_path / "outside/file")} == {0}


@needs_root
@pytest.mark.parametrize("mode", [0o777, 0o775])
async def test_a_folder_that_is_exchanged_is_not_given_to_the_job(
    root: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """Right after its making the job moves a folder of root's into its place, which it may, as all may write to it."""
    async with confined(root, user="nobody") as manager:
        job = manager.create(owner(), "job")
        await manager.start(job, ["sleep", "1000"], None, None, 0)
        make = os.mkdir

        def exchanged(path: str, made: int, *, dir_fd: int) -> None:
            make(path, made, dir_fd=dir_fd)
            monkeypatch.undo()
            os.chmod(path, mode, dir_fd=dir_fd)

        monkeypatch.setattr(os, "mkdir", exchanged)
        place, _ = job.sandbox.open_parent("folder/file", create=True)
        try:
            assert os.fstat(place).st_uid == 0
        finally:
            os.close(place)


# --- cgroups --------------------------------------------------------------------------------------------


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of version 2 of our own."""
    for top in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (top / "cgroup.controllers").exists():
            break
    else:
        pytest.skip("no cgroups of version 2 here")
    group = top / f"pagent-tests-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    if not (group / "cgroup.kill").exists():
        group.rmdir()
        pytest.skip("cgroup.kill came with Linux 5.14")
    yield group
    group.rmdir()


async def test_a_job_has_a_cgroup_of_its_own(root: Path, cgroup: Path) -> None:
    async with confined(root, cgroup=cgroup) as manager:
        job = manager.create(owner(), "job")
        script = "(setsid env -i sleep 1000 & echo $!) > pid.tmp; mv pid.tmp pid; exec sleep 1000"
        await manager.start(job, ["sh", "-c", script], None, None, 0)
        child = int(await line_of(job, "pid"))
        group = cgroup / f"pagent-{job.uid}"
        assert {job.pid, child} <= {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
        await manager.remove(job)
        assert not group.exists()
        assert not is_alive(child)


async def test_a_group_is_killed_at_once(cgroup: Path) -> None:
    group = Group(cgroup / "pagent-x")
    group.make({})
    process = await asyncio.create_subprocess_exec("sh", "-c", f"echo 0 > {group.path}/cgroup.procs; exec sleep 1000")
    try:
        while not (group.path / "cgroup.procs").read_text():  # noqa: ASYNC110 - there is no event for that
            await asyncio.sleep(0.005)
        group.kill()
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == -9
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    group.remove()
    group.remove()
    assert not group.path.exists()


async def test_a_limit_that_cannot_be_written_leaves_no_group(cgroup: Path) -> None:
    group = Group(cgroup / "pagent-x")
    with pytest.raises(OSError, match="no-such-control"):
        group.make({"no-such-control": "1"})
    assert not group.path.exists()


async def test_limits_of_a_cgroup(root: Path, cgroup: Path) -> None:
    if "pids" not in (cgroup / "cgroup.controllers").read_text().split():
        with pytest.raises(ConfigError, match="cannot limit pids"):
            Confinement(IsolationSettings(cgroup=cgroup, cgroup_processes=5))
        pytest.skip("the pids controller is not one of version 2 here")
    wanted = {"cgroup_processes": 5, "cgroup_memory_bytes": 2**26, "cgroup_cpus": 0.5}
    async with confined(root, cgroup=cgroup, **wanted) as manager:
        job = manager.create(owner(), "job")
        await manager.start(job, ["sleep", "1000"], None, None, 0)
        group = cgroup / f"pagent-{job.uid}"
        assert (group / "pids.max").read_text() == "5\n"
        assert (group / "memory.max").read_text() == f"{2**26}\n"
        assert (group / "cpu.max").read_text() == "50000 100000\n"


def test_leftover_groups_are_removed(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation.limits, "KILL_WAIT_S", -1.0)
    (cgroup / "pagent-left").mkdir()
    (cgroup / "other").mkdir()
    try:
        Confinement(IsolationSettings(cgroup=cgroup))
        assert not (cgroup / "pagent-left").exists()
        assert (cgroup / "other").exists()
    finally:
        for name in ("pagent-left", "other"):
            with suppress(FileNotFoundError):
                (cgroup / name).rmdir()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of a cgroup with all controllers: written values can be read.

    A group's own files go with it, which ordinary files do not.
    """
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        (tmp_path / name).touch()
    remove = Path.rmdir

    def rmdir(path: Path) -> None:
        if path.parent == tmp_path:
            for file in path.iterdir():
                file.unlink()
        remove(path)

    monkeypatch.setattr(Path, "rmdir", rmdir)
    return tmp_path


#: A key of the configuration with a value, the controller that it needs, its file, and the expected content.
CONTROLS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"cgroup_processes": 5}, "pids", "pids.max", "5"),
    ({"cgroup_memory_bytes": 2**26}, "memory", "memory.max", "67108864"),
    ({"cgroup_cpus": 0.5}, "cpu", "cpu.max", "50000 100000"),
    ({"cgroup_cpus": 16.0}, "cpu", "cpu.max", "1600000 100000"),
]


@pytest.mark.parametrize(("wanted", "controller", "name", "text"), CONTROLS)
def test_what_is_written_for_a_limit(
    folder: Path, wanted: dict[str, Any], controller: str, name: str, text: str
) -> None:
    confinement = Confinement(IsolationSettings(cgroup=folder, **wanted))
    assert (folder / "cgroup.subtree_control").read_text() == f"+{controller}"
    group = confinement.make_group("uid")
    assert group is not None
    assert group.path == folder / "pagent-uid"
    assert {file.name: file.read_text() for file in group.path.iterdir()} == {name: text}


@pytest.mark.parametrize(("wanted", "controller", "name", "text"), CONTROLS)
def test_a_controller_that_is_not_there_is_named_at_the_start(
    folder: Path, wanted: dict[str, Any], controller: str, name: str, text: str
) -> None:
    (folder / "cgroup.subtree_control").unlink()
    (folder / "cgroup.subtree_control").mkdir()
    with pytest.raises(ConfigError, match=f"jobs.isolation.cgroup: it cannot limit {controller}: "):
        Confinement(IsolationSettings(cgroup=folder, **wanted))


async def test_a_job_joins_its_group_before_it_is_the_program(root: Path, folder: Path) -> None:
    async with confined(root, cgroup=folder, cgroup_processes=5, cgroup_memory_bytes=2**30) as manager:
        job = manager.create(owner(), "job")
        group = folder / f"pagent-{job.uid}"
        await manager.start(job, ["cat", str(group / "cgroup.procs"), str(group / "pids.max")], None, None, 0)
        async with asyncio.timeout(PATIENCE_S):
            await manager.wait(job)
        assert said(job) == "05"  # 0 is the process that writes it
        await manager.remove(job)
        assert not group.exists()


async def test_a_job_whose_group_cannot_be_made_is_not_started_without(root: Path, folder: Path) -> None:
    async with confined(root, cgroup=folder, cgroup_processes=5) as manager:
        job, other = (manager.create(owner(), "job") for _ in range(2))
        (folder / f"pagent-{job.uid}").touch()
        with pytest.raises(FileExistsError):
            await manager.start(job, ["sleep", "1000"], None, None, 0)
        assert (job.state.value, job.pid) == ("FINISHED", None)
        await manager.start(other, ["true"], None, None, 0)


async def test_a_group_that_cannot_be_joined_is_ended(root: Path, folder: Path) -> None:
    async with confined(root, cgroup=folder) as manager:
        job = manager.create(owner(), "job")
        make = isolation.Group.make

        def without_place(group: Group, controls: Any) -> None:
            make(group, controls)
            (group.path / "cgroup.procs").symlink_to("/no/such/place")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(isolation.Group, "make", without_place)
            with pytest.raises(PermissionError, match="it cannot be confined: No such file or directory: 'sleep'"):
                await manager.start(job, ["sleep", "1000"], None, None, 0)
        assert (job.state.value, job.pid) == ("FINISHED", None)


# --- settings that cannot be enforced -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"user": "no such user"}, "jobs.isolation.user: there is no user"),
        ({"user": "99999999999999999999"}, "jobs.isolation.user: there is no user"),
        ({"cgroup": Path("/nowhere")}, "jobs.isolation.cgroup: no cgroup of version 2"),
        ({"cgroup_processes": 5}, "jobs.isolation.cgroup: must be set"),
        (
            {"max_files": 1 << 40},
            "jobs.isolation.max_files: .* more than this",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(wanted: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=text):
        Confinement(IsolationSettings(**wanted))


def test_another_user_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="runs as root"):
        Confinement(IsolationSettings(user="nobody"))


# --- a hostile environment ------------------------------------------------------------------------------


CONSTRUCTOR = """
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
static void note(void) {
    int file = open("/proc/self/status", O_RDONLY), out = open(NOTES, O_WRONLY | O_APPEND | O_CREAT, 0666);
    dprintf(out, "%d\\n", geteuid());
    close(file);
    close(out);
}
__attribute__((constructor)) static void begin(void) { note(); }
unsigned int la_version(unsigned int version) { note(); return version; }
int gconv_init(void *step) { note(); return 0; }
int gconv(void) { return 0; }
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a library whose constructor writes down its user."""
    import subprocess
    import tempfile

    if shutil.which("gcc") is None:
        pytest.skip("no C compiler here")
    folder = Path(tempfile.mkdtemp(prefix="pagent-test-"))
    folder.chmod(0o777)
    (folder / "note.c").write_text(CONSTRUCTOR)
    (folder / "gconv-modules").write_text("module HOSTILE// INTERNAL note 1\nmodule INTERNAL HOSTILE// note 1\n")
    define = f'-DNOTES="{folder}/notes"'
    subprocess.run(
        ["gcc", "-shared", "-fPIC", define, "-o", str(folder / "note.so"), str(folder / "note.c")], check=True
    )
    (folder / "note.so").chmod(0o755)
    yield folder
    shutil.rmtree(folder)


#: Each option by itself, and the expected output of a program that is confined by it.
OPTIONS: list[dict[str, Any]] = [
    {"user": "nobody"},
    {"user": "nobody", "no_new_privs": True},
    {"user": "nobody", "max_files": 100},
    {"user": "nobody", "environment": ("PATH",)},
    {"user": "nobody", "max_processes": 1000},
    {"user": "nobody", "max_memory_bytes": 2**33},
    {"user": "nobody", "max_cpu_seconds": 100},
]


@needs_root
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options))
async def test_nothing_of_a_peer_runs_before_the_confinement(
    root: Path, hostile: Path, options: dict[str, Any]
) -> None:
    notes = hostile / "notes"
    notes.unlink(missing_ok=True)
    notes.touch()
    notes.chmod(0o666)
    env = {
        "LD_PRELOAD": str(hostile / "note.so"),
        "LD_AUDIT": str(hostile / "note.so"),
        "LD_LIBRARY_PATH": str(hostile),
        "GCONV_PATH": str(hostile),
        "LC_ALL": "xx_XX.HOSTILE",
        "LANG": "xx_XX.HOSTILE",
        "PYTHONPATH": str(hostile),
        "PYTHONSTARTUP": str(hostile / "note.c"),
        "BASH_FUNC_cd%%": f"() {{ id -u >> {notes}; }}",
        "BASH_FUNC_exec%%": f"() {{ id -u >> {notes}; }}",
        "BASH_ENV": str(hostile / "note.c"),
        "ENV": str(hostile / "note.c"),
    }
    async with confined(root, **options) as manager:
        job = manager.create(owner(), "job")
        await manager.start(job, ["sleep", "1000"], env, None, 0)
        found: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()
        await manager.execute(job, Collector(found), ["cat", "/dev/null"], env, tty=False, rows=24, cols=80)
        async with asyncio.timeout(PATIENCE_S):
            assert (await found)[1] == 0
            # The constructor and the audit of both: a start is complete before the program's libraries are loaded.
            while len(users := notes.read_text().split()) < 4:  # noqa: ASYNC110 - no event for that
                await asyncio.sleep(0.01)
    assert set(users) == {"65534"}


@pytest.mark.parametrize(
    ("options", "line", "value"),
    [
        ({"no_new_privs": True}, "NoNewPrivs:", "1"),
        ({"max_files": 77}, "Max open files", "77"),
        ({"max_processes": 7777}, "Max processes", "7777"),
        ({"max_memory_bytes": 2**33}, "Max address space", str(2**33)),
        ({"max_cpu_seconds": 77}, "Max cpu time", "77"),
    ],
)
async def test_a_constructor_is_confined_already(
    root: Path, hostile: Path, options: dict[str, Any], line: str, value: str
) -> None:
    """Return the notes of a peer's library that is loaded first."""
    (hostile / "show.c").write_text(
        "#include <stdlib.h>\n#include <unistd.h>\n"
        '__attribute__((constructor)) static void begin(void) { if (getenv("LD_PRELOAD")) { unsetenv("LD_PRELOAD");'
        ' system("cat /proc/$PPID/status /proc/$PPID/limits"); } }'
    )
    process = await asyncio.create_subprocess_exec(
        "gcc", "-w", "-shared", "-fPIC", "-o", str(hostile / "show.so"), str(hostile / "show.c")
    )
    assert await process.wait() == 0
    async with confined(root, **options) as manager:
        job = await run(manager, "true", env={"LD_PRELOAD": str(hostile / "show.so")})
        assert [row for row in said(job).splitlines() if row.startswith(line) and f"{value}" in row.split()]


@pytest.mark.parametrize("name", ["PAGENT_TOKEN", "PAGENT_CLIENT_TOKEN", "PAGENT_CONTROL_PASSWORD"])
async def test_secrets_of_the_agent_are_none_of_the_jobs(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PAGENT_LOOP", "asyncio")
    for options in ({}, {"environment": ("*",)}, {"environment": (name, "PAGENT_LOOP")}):
        environment = Confinement(IsolationSettings(**options)).environment()
        assert name not in environment
        assert environment["PAGENT_LOOP"] == "asyncio"


async def test_a_locale_of_the_interpreter_is_none_of_the_jobs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter sets LC_CTYPE for itself in the C locale (PEP 538); one that it was given is passed on."""
    script = (
        "import os; from pagent.jobs.isolation import Confinement, IsolationSettings as I; "
        "print(Confinement(I()).environment().get('LC_CTYPE'), os.environ['LC_CTYPE'])"
    )
    for given, expected in (({}, b"None C.UTF-8\n"), ({"LC_CTYPE": "C.UTF-8"}, b"C.UTF-8 C.UTF-8\n")):
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "LC_CTYPE": "C"} | given
        if not given:
            del env["LC_CTYPE"]
        process = await asyncio.create_subprocess_exec(PYTHON, "-c", script, env=env, stdout=asyncio.subprocess.PIPE)
        assert (await process.communicate())[0] == expected


async def test_the_limit_of_descriptors_is_that_of_before(root: Path) -> None:
    """In a separate process: the agent raises its limit, its jobs have the limit that it was started with."""
    script = (
        "import resource as r; hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, hard));"
        "from pagent.runtime.descriptors import raise_limit; raise_limit();"
        "from pagent.jobs.isolation import Confinement; from pagent.config.model import IsolationSettings;"
        "plan = Confinement(IsolationSettings()).plan(['true'], {}, None);"
        "print(r.getrlimit(r.RLIMIT_NOFILE) == (hard, hard), plan['limits']['NOFILE'] == (64, hard))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(PYTHON, "-c", script, env=env, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"True True\n"
