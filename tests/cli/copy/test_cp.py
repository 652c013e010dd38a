"""``pagent cp``, with an agent and with a router."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Outcome, command
from tests.kit.commands import environment
from tests.kit.cutting import CuttingRelay, cutting_relay
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import RemoteProcess, slow_at_a_router
from tests.kit.terminal import Terminal

Command = Callable[..., Outcome]

#: A name that is not UTF-8, and tries to control a terminal.
ODD = b"o\xffdd\n\x1b[2J"
THEN = 1_000_000_000.25


@pytest.fixture
def pagent(place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    return command(place, tmp_path, capfd)


@pytest.fixture
def job(pagent: Command) -> Iterator[str]:
    uid = pagent("start", "--", "sleep", "1000").stdout.strip()
    yield uid
    pagent("rm", uid)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with one of each kind."""
    source = tmp_path / "source"
    (source / "sub/empty").mkdir(parents=True)
    (source / "sub/run").write_text("#!/bin/sh\n")
    (source / "sub/run").chmod(0o750)
    (source / "link").symlink_to("sub/run")
    (source / "large").write_bytes(os.urandom(9_000_000))
    (source / "middle").write_bytes(os.urandom(100_000))
    Path(os.fsdecode(os.fsencode(source) + b"/" + ODD)).write_text("odd")
    for path in (source / "sub/run", source / "large", source / "middle", source / "sub", source):
        os.utime(path, (THEN, THEN))
    return source


def content(folder: Path) -> dict[str, object]:
    """What is in a folder, with modes and times."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        body = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        time = None if path.is_symlink() else round(status.st_mtime, 3)
        found[str(path.relative_to(folder))] = (status.st_mode, time, body)
    return found


def test_a_folder_there_and_back(pagent: Command, job: str, source: Path, tmp_path: Path) -> None:
    assert pagent("cp", str(source), f"{job}:new/folder") == (0, "", "")
    assert pagent("cp", f"{job}:new/folder", str(tmp_path / "back")) == (0, "", "")
    assert content(tmp_path / "back") == content(source)
    assert round((tmp_path / "back").stat().st_mtime, 3) == THEN
    # Again: the same content, and files that are the same are not sent.
    assert pagent("cp", f"{source}/.", f"{job}:new/folder").code == 0
    assert pagent("cp", f"{job}:new/folder/.", str(tmp_path / "back")).code == 0
    assert content(tmp_path / "back") == content(source)


def test_a_file_that_only_seems_the_same_is_replaced(pagent: Command, job: str, source: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    assert pagent("cp", str(source), f"{job}:f").code == 0
    assert pagent("cp", f"{job}:f", str(back)).code == 0
    for name in ("middle", "large"):
        with (back / name).open("r+b") as file:
            file.write(b"other")
        os.utime(back / name, (THEN, THEN))
    assert pagent("cp", f"{job}:f/.", str(back)).code == 0
    assert content(back) == content(source)


def test_what_is_not_copied_is_named(pagent: Command, job: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    os.mkfifo(source / "fifo\x1b[2J")
    (source / "out").symlink_to("/etc/passwd")
    (source / "kept").touch()
    code, stdout, stderr = pagent("cp", str(source), f"{job}:")
    assert (code, stdout) == (1, "")
    assert "\x1b" not in stderr
    assert f"pagent: not copied: {source}/fifo\\x1b[2J: neither a file nor a folder nor a link\n" in stderr
    assert "pagent: not copied: source/out: a symbolic link that may lead outside: /etc/passwd\n" in stderr
    assert pagent("exec", job, "ls", "source").stdout == "kept\n"


def test_a_file(pagent: Command, job: str, source: Path, tmp_path: Path) -> None:
    assert pagent("cp", str(source / "sub/run"), f"{job}:") == (0, "", "")
    assert pagent("cp", str(source / "link"), f"{job}:followed") == (0, "", "")
    assert pagent("cp", f"{job}:/run", str(tmp_path)) == (0, "", "")
    copied = tmp_path / "run"
    assert (copied.stat().st_mode & 0o777, copied.stat().st_mtime) == (0o750, THEN)
    assert pagent("cp", f"{job}:run", "/dev/null") == (0, "", "")
    assert pagent("cp", f"{job}:followed", str(tmp_path / "other")) == (0, "", "")
    assert (tmp_path / "other").read_text() == "#!/bin/sh\n"
    assert not list(tmp_path.glob(".pagent-*"))


def test_what_does_not_exist(pagent: Command, job: str, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for words, said in (
        ((f"{job}:none", str(tmp_path)), "none: no such file or folder"),
        ((str(tmp_path / "none"), f"{job}:"), "none: No such file or directory"),
        ((str(tmp_path / "f"), f"{job}:none/"), "the folder"),
        (("nonsense:x", str(tmp_path)), "job 'nonsense' is not found"),
        ((f"{job}:.", str(tmp_path / "no/where")), "does not exist"),
    ):
        code, stdout, stderr = pagent("cp", *words)
        assert (code, stdout, stderr.count("\n")) == (3, "", 1)
        assert said in stderr


@pytest.mark.parametrize("words", [("a", "b"), ("j:a", "j:b"), ("-", "-"), ("-", "a")])
def test_one_side_has_to_be_a_job(pagent: Command, words: tuple[str, str]) -> None:
    assert pagent("cp", *words).code == 2


def test_invalid_values_are_refused(pagent: Command, job: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert "path leaves the sandbox" in pagent("cp", f"{job}:../x", str(tmp_path)).stderr
    assert "belongs to the agent" in pagent("cp", str(source / "middle"), f"{job}:.pagent.stdout").stderr
    assert pagent("cp", str(source / "middle"), f"{job}:file").code == 0
    assert "a folder cannot be copied onto it" in pagent("cp", str(source), f"{job}:file").stderr
    os.mkfifo(tmp_path / "fifo")
    assert "neither a file nor a folder" in pagent("cp", str(tmp_path / "fifo"), f"{job}:").stderr


def test_a_failure_names_no_temporary_file(pagent: Command, job: str, source: Path, tmp_path: Path) -> None:
    middle = str(source / "middle")
    assert pagent("cp", middle, f"{job}:middle").code == 0
    code, _, stderr = pagent("cp", middle, f"{job}:middle/below")
    assert (code, stderr) == (1, f"pagent: {job}:middle/below: Not a directory: 'middle/below'\n")
    code, _, stderr = pagent("cp", f"{job}:middle", f"{middle}/below")
    assert (code, stderr) == (1, f"pagent: {middle} is not a folder\n")
    long = str(tmp_path / ("n" * 300))
    code, _, stderr = pagent("cp", f"{job}:middle", long)
    assert (code, "File name too long" in stderr, ".pagent-part" in stderr) == (1, True, False)


def test_the_whole_folder_of_a_job_lacks_the_agents_own_files(pagent: Command, job: str, tmp_path: Path) -> None:
    pagent("cp", "-", f"{job}:a/b", stdin="text")
    assert pagent("cp", f"{job}:", str(tmp_path / "all")) == (0, "", "")
    assert [str(path.relative_to(tmp_path / "all")) for path in (tmp_path / "all").rglob("*")] == ["a", "a/b"]
    assert pagent("cp", f"{job}:.pagent.stdout", str(tmp_path)).code == 0


def test_standard_input_and_output(
    place: RemoteProcess, pagent: Command, job: str, source: Path, tmp_path: Path
) -> None:
    assert pagent("cp", "-", f"{job}:d/file", stdin="some text") == (0, "", "")
    assert pagent("cp", f"{job}:d/file", "-") == (0, "some text", "")
    options = [sys.executable, "-m", "pagent", "cp"]
    env = environment(tmp_path)
    archive = subprocess.run(["tar", "c", "-C", source, "sub"], capture_output=True, check=True).stdout
    put = [*options, *place.options, "-", f"{job}:unpacked/"]
    assert subprocess.run(put, input=archive, env=env, timeout=PATIENCE_S, check=False).returncode == 0
    got = subprocess.run(
        [*options, *place.options, f"{job}:unpacked", "-"], capture_output=True, env=env, timeout=PATIENCE_S, check=True
    ).stdout
    listed = subprocess.run(["tar", "t"], input=got, capture_output=True, check=True).stdout
    assert listed.split() == [b"sub/", b"sub/empty/", b"sub/run"]


# --- lost links -------------------------------------------------------------------------------------


def processes(place: RemoteProcess, port: int, *words: str) -> list[str]:
    """The command line of ``pagent cp`` that dials a port."""
    return [sys.executable, "-m", "pagent", "cp", "--agent", f"127.0.0.1:{port}", *place.options[2:], *words]


def copied(place: RemoteProcess, relay: CuttingRelay, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        processes(place, relay.port, *words),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE_S,
        check=False,
    )


def many_files(folder: Path, count: int) -> Path:
    for number in range(count):
        path = folder / f"{number % 50}/{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number % 3000))
    return folder


def there_and_back(place: RemoteProcess, job: str, source: Path, tmp_path: Path, every: int) -> None:
    with cutting_relay(place.port, every=every, most=6) as relay:
        up = copied(place, relay, tmp_path, str(source), f"{job}:many")
        cuts = relay.cuts
        assert (up.returncode, cuts > 0) == (0, True), up.stderr
        down = copied(place, relay, tmp_path, f"{job}:many", str(tmp_path / "back"))
        assert (down.returncode, relay.cuts > cuts) == (0, True), down.stderr
    assert "the copy resumes with the next link" in up.stderr
    assert content(tmp_path / "back") == content(source)


@slow_at_a_router
def test_a_copy_goes_on_after_a_lost_link(place: RemoteProcess, job: str, source: Path, tmp_path: Path) -> None:
    there_and_back(place, job, many_files(source, 300), tmp_path, 3_500_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_files_and_lost_links(place: RemoteProcess, job: str, tmp_path: Path) -> None:
    there_and_back(place, job, many_files(tmp_path / "source", 20_000), tmp_path, 20_000_000)


@slow_at_a_router
@pytest.mark.parametrize("way", ["up", "down"])
def test_an_interrupted_copy_of_a_large_file_goes_on(
    place: RemoteProcess, pagent: Command, job: str, tmp_path: Path, way: str
) -> None:
    """Ctrl-C is pressed when about half of it has passed; the second command sends the rest."""
    file, back = tmp_path / "file", tmp_path / "back"
    file.write_bytes(os.urandom(40_000_000))
    words = [str(file), f"{job}:file"]
    if way == "down":
        assert pagent("cp", *words).code == 0
        words = [f"{job}:file", str(back)]
    with cutting_relay(place.port, every=1 << 60, most=0) as relay:
        with subprocess.Popen(
            processes(place, relay.port, *words), stderr=subprocess.PIPE, text=True, env=environment(tmp_path)
        ) as process:
            relay.wait_for(15_000_000)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=PATIENCE_S)
        if process.returncode == 0:
            pytest.skip("it was complete before the signal")
        assert (process.returncode, stderr) == (130, "pagent: interrupted: the same command resumes the copy\n")
        assert not back.exists()
        before = relay.passed
        assert copied(place, relay, tmp_path, *words).returncode == 0
        assert relay.passed - before < 35_000_000
    if way == "up":
        assert pagent("cp", f"{job}:file", str(back)).code == 0
    assert back.read_bytes() == file.read_bytes()
    assert [path.name for path in tmp_path.glob(".pagent-*")] == []


# --- full disks -------------------------------------------------------------------------------------


def limited() -> None:
    """Let the process write no file beyond a size, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


@pytest.mark.parametrize("name", ["large", ""])
def test_a_full_disk_here(
    place: RemoteProcess, pagent: Command, job: str, source: Path, tmp_path: Path, name: str
) -> None:
    assert pagent("cp", f"{source}/.", f"{job}:d").code == 0
    (tmp_path / "back").mkdir()
    done = subprocess.run(
        processes(place, place.port, f"{job}:d/{name}".rstrip("/"), str(tmp_path / "back")),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        preexec_fn=limited,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"pagent: cannot write to {tmp_path}/back: File too large")
    assert not list((tmp_path / "back").rglob("large"))
    assert not list((tmp_path / "back").rglob(".pagent-*"))


def test_a_full_disk_there(place: RemoteProcess, pagent: Command, job: str, source: Path) -> None:
    if place.entry.ports.get("control") == place.port:
        pytest.skip("the agent is another process")
    agent = place.entry.process.pid
    before = resource.prlimit(agent, resource.RLIMIT_FSIZE)
    resource.prlimit(agent, resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        code, stdout, stderr = pagent("cp", str(source / "large"), f"{job}:")
        assert (code, stdout, stderr) == (1, "", f"pagent: {job}: File too large: 'large'\n")
        assert pagent("cp", str(source), f"{job}:d").code == 1
        code, stdout, stderr = pagent("start", "--upload", str(source), "--", "true")
        assert (code, stdout) == (1, "")
        assert re.fullmatch(r"pagent: --upload: .*File too large.*\n", stderr)
    finally:
        resource.prlimit(agent, resource.RLIMIT_FSIZE, before)
    assert "large" not in pagent("exec", job, "find", ".").stdout


# --- a terminal -------------------------------------------------------------------------------------


@slow_at_a_router
@pytest.mark.parametrize("columns", [40, 100])
def test_progress_on_a_terminal(place: RemoteProcess, job: str, source: Path, tmp_path: Path, columns: int) -> None:
    (source / "large").write_bytes(bytes(60_000_000))
    terminal = Terminal()
    terminal.resize(24, columns)
    try:
        words = processes(place, place.port, str(source), f"{job}:{columns}")
        with subprocess.Popen(words, stderr=terminal.device, env=environment(tmp_path) | {"TERM": "xterm"}) as process:
            text = terminal.until("copied ")
            assert process.wait(PATIENCE_S) == 0
    finally:
        terminal.close()
    drawn = [line for line in text.split("\r") if "%" in line]
    assert drawn, text
    assert all(len(line.replace("\x1b[K", "")) < columns for line in drawn)
    assert "pagent: copied" in text.splitlines()[-1].rpartition("\x1b[K")[2]


def test_an_input_that_cannot_be_read_is_not_copied(place: RemoteProcess, job: str, tmp_path: Path) -> None:
    """Otherwise the file of the job would be replaced by an empty one."""
    unreadable = os.open(tmp_path / "unreadable", os.O_WRONLY | os.O_CREAT)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pagent", "cp", *place.options, "-", f"{job}:f"],
            stdin=unreadable,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=environment(tmp_path),
            check=False,
        )
    finally:
        os.close(unreadable)
    assert (done.returncode, done.stderr) == (1, "pagent: cannot read standard input: Bad file descriptor\n")
