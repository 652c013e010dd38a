"""The sandbox against paths, links, special files and races. Every look-up is tried in both of its ways."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.jobs.openat_beneath import Opener, has_openat2, open_by_kernel, open_by_walk
from pagent.jobs.paths import components
from pagent.jobs.sandbox import Sandbox

KERNEL = pytest.param(
    open_by_kernel, id="kernel", marks=pytest.mark.skipif(not has_openat2(), reason="this kernel has no openat2")
)
WALK = pytest.param(open_by_walk, id="walk")


@pytest.fixture(params=[KERNEL, WALK])
def opener(request: pytest.FixtureRequest) -> Opener:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def sandbox(tmp_path: Path, opener: Opener) -> Iterator[Sandbox]:
    (tmp_path / "outside").write_text("secret")
    made = Sandbox.create(tmp_path, "job", opener=opener)
    yield made
    made.remove()


def content(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def names(descriptor: int) -> list[str]:
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


# --- the folder itself ----------------------------------------------------------------------------


def test_create_makes_a_private_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    assert sandbox.path == tmp_path / "job"
    assert stat.S_IMODE(sandbox.path.stat().st_mode) == 0o700


def test_create_refuses_what_exists_and_needs_its_root(tmp_path: Path, descriptors: Callable[[], int]) -> None:
    (tmp_path / "job").mkdir()
    before = descriptors()
    with pytest.raises(FileExistsError):
        Sandbox.create(tmp_path, "job")
    with pytest.raises(FileNotFoundError):
        Sandbox.create(tmp_path / "none", "job")
    assert descriptors() == before


def test_create_without_descriptors_leaves_no_folder(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Sandbox.create(tmp_path, "job")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not (tmp_path / "job").exists()


def test_the_folder_stays_the_same_when_it_is_renamed(sandbox: Sandbox, tmp_path: Path) -> None:
    (sandbox.path / "a").write_text("ours")
    sandbox.path.rename(tmp_path / "moved")
    sandbox.path.symlink_to(tmp_path)
    assert content(sandbox.open_read("a")) == b"ours"
    sandbox.path.unlink()
    (tmp_path / "moved").rename(sandbox.path)


# --- paths ----------------------------------------------------------------------------------------


def test_plain_paths(sandbox: Sandbox) -> None:
    (sandbox.path / "d" / "e").mkdir(parents=True)
    (sandbox.path / "d" / "e" / "f").write_text("x")
    for path in ("d/e/f", "./d//e/./f", "d/e/../e/f", "d/none/../e/f"):
        assert content(sandbox.open_read(path)) == b"x"
    assert names(sandbox.open_dir("")) == names(sandbox.open_dir(".")) == names(sandbox.open_dir("d/..")) == ["d"]
    assert names(sandbox.open_dir("d/e/")) == ["f"]


@pytest.mark.parametrize("path", ["/", "/etc/absolute", "//x", "/../x"])
def test_absolute_paths_are_refused_in_the_words_of_the_contract(sandbox: Sandbox, path: str) -> None:
    for call in (sandbox.open_dir, sandbox.open_read, lambda p: sandbox.open_parent(p, create=True)):
        with pytest.raises(ValueError, match=r"^file path must be relative$"):
            call(path)


@pytest.mark.parametrize("path", ["..", "../outside", "a/../../outside", "./../job", "a/b/../../..", "../job/x"])
def test_paths_that_leave_are_refused(sandbox: Sandbox, path: str) -> None:
    for call in (sandbox.open_dir, sandbox.open_read, lambda p: sandbox.open_parent(p, create=True)):
        with pytest.raises(ValueError, match="path leaves the sandbox"):
            call(path)
    assert list(sandbox.path.iterdir()) == []


@pytest.mark.parametrize("path", ["", ".", "a/..", "./"])
def test_a_file_needs_a_name(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(ValueError, match="names no file"):
        sandbox.open_read(path)
    with pytest.raises(ValueError, match="names no file"):
        sandbox.open_parent(path, create=True)


@pytest.mark.parametrize(("path", "text"), [("a\0b", "NUL"), ("a\ud800", "Unicode")])
def test_names_that_cannot_be_are_refused(sandbox: Sandbox, path: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        sandbox.open_read(path)
    assert type(caught.value) is ValueError


@pytest.mark.parametrize("path", [b"a", None, 7])
def test_a_path_is_a_str(sandbox: Sandbox, path: object) -> None:
    with pytest.raises(TypeError, match="must be a str"):
        sandbox.open_read(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["x" * 300, "a/" * 3000 + "a", "x" * 100_000])
def test_names_that_are_too_long(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(OSError, match="too long") as caught:
        sandbox.open_read(path)
    assert caught.value.errno == errno.ENAMETOOLONG


@given(st.lists(st.sampled_from(["", ".", "..", "a", "b", "..."]), max_size=8))
def test_components_are_plain_or_refused(parts: list[str]) -> None:
    path = "/".join(parts)
    depth = lowest = 0
    for part in parts:
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        lowest = min(lowest, depth)
    if path.startswith("/") or lowest < 0:
        with pytest.raises(ValueError, match=r"must be relative|leaves the sandbox"):
            components(path)
    else:
        found = components(path)
        assert len(found) == depth
        assert not set(found) & {"", ".", ".."}
        assert os.path.normpath(path or ".") == ("/".join(found) or ".")


# --- errors ---------------------------------------------------------------------------------------


def test_errors_keep_their_class_and_name_the_peers_path_only(sandbox: Sandbox) -> None:
    (sandbox.path / "file").write_text("")
    cases: list[tuple[type[OSError], str]] = [(FileNotFoundError, "d/missing"), (NotADirectoryError, "file/below")]
    for kind, path in cases:
        with pytest.raises(kind) as caught:
            sandbox.open_read(path)
        assert caught.value.filename == path
        number = caught.value.errno or 0
        assert str(caught.value) == f"[Errno {number}] {os.strerror(number)}: {path!r}"
    with pytest.raises(FileNotFoundError, match=r"'none/x'$"):
        sandbox.open_parent("none/x", create=False)
    with pytest.raises(NotADirectoryError, match=r"'file/a/b'$"):
        sandbox.open_parent("file/a/b", create=True)
    with pytest.raises(NotADirectoryError, match=r"'file'$"):
        sandbox.open_dir("file")
    (sandbox.path / "d").mkdir()
    with pytest.raises(IsADirectoryError, match=r"'d'$"):
        sandbox.open_read("d")


def test_failed_calls_leave_no_descriptor(sandbox: Sandbox, descriptors: Callable[[], int]) -> None:
    (sandbox.path / "file").write_text("")
    (sandbox.path / "d").mkdir()
    os.mkfifo(sandbox.path / "fifo")
    before = descriptors()
    for path in ("missing", "file/x", "d", "fifo", "d/none/x", "..", "/x"):
        with pytest.raises((OSError, ValueError)):
            sandbox.open_read(path)
    for path in ("file/x/y", "../x", "none/x/y"):
        with pytest.raises((OSError, ValueError)):
            sandbox.open_parent(path, create=path.startswith("file"))
    assert descriptors() == before


# --- special files --------------------------------------------------------------------------------


def test_only_regular_files_are_read(sandbox: Sandbox) -> None:
    os.mkfifo(sandbox.path / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    place = os.open(sandbox.path, os.O_RDONLY)
    try:
        # By way of the descriptor: a socket's name is at most 107 bytes long.
        listener.bind(f"/proc/self/fd/{place}/socket")
        for path in ("fifo", "socket"):
            with pytest.raises(ValueError, match=f"not a regular file: '{path}'"):
                sandbox.open_read(path)
    finally:
        listener.close()
        os.close(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices_are_not_read(sandbox: Sandbox) -> None:
    os.mknod(sandbox.path / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.mknod(sandbox.path / "no-such", stat.S_IFBLK | 0o666, os.makedev(511, 99))
    for path in ("zero", "no-such"):
        with pytest.raises(ValueError, match="not a regular file"):
            sandbox.open_read(path)


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/", "..", "../outside", "d/../../outside", "/proc/self/root", "self"])
def test_links_that_leave_are_refused(sandbox: Sandbox, target: str) -> None:
    (sandbox.path / "d").mkdir()
    (sandbox.path / "self").symlink_to(target)
    for path in ("self", "self/outside"):
        with pytest.raises(ValueError, match=f"path leaves the sandbox: '{path}'"):
            sandbox.open_read(path)
    with pytest.raises(ValueError, match="path leaves the sandbox"):
        sandbox.open_parent("self/new", create=True)
    with pytest.raises(ValueError, match="path leaves the sandbox"):
        sandbox.open_dir("self")


@pytest.mark.skipif(not has_openat2(), reason="this kernel has no openat2")
def test_links_that_stay_are_followed_by_the_kernel(tmp_path: Path) -> None:
    sandbox = Sandbox.create(tmp_path, "job", opener=open_by_kernel)
    (sandbox.path / "d").mkdir()
    (sandbox.path / "d" / "f").write_text("x")
    (sandbox.path / "d" / "up").symlink_to("../d")
    (sandbox.path / "link").symlink_to("d/f")
    assert content(sandbox.open_read("link")) == b"x"
    assert content(sandbox.open_read("d/up/up/f")) == b"x"
    place, name = sandbox.open_parent("d/up/new/x", create=True)
    os.close(place)
    assert name == "x"
    assert (sandbox.path / "d" / "new").is_dir()
    sandbox.remove()


def test_links_are_refused_by_the_walk(tmp_path: Path) -> None:
    sandbox = Sandbox.create(tmp_path, "job", opener=open_by_walk)
    (sandbox.path / "f").write_text("x")
    (sandbox.path / "link").symlink_to("f")
    with pytest.raises(ValueError, match="path leaves the sandbox: 'link'"):
        sandbox.open_read("link")
    sandbox.remove()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux exchanges two names at once")
def test_a_flipping_link_never_leads_out(sandbox: Sandbox, tmp_path: Path) -> None:
    """A thread swaps a folder and a link to the outside while we look, hundreds of times."""
    (tmp_path / "target" / "sub").mkdir(parents=True)
    (tmp_path / "target" / "file").write_text("secret")
    (sandbox.path / "d" / "sub").mkdir(parents=True)
    (sandbox.path / "d" / "file").write_text("ours")
    (sandbox.path / "evil").symlink_to(tmp_path / "target")
    swap = ctypes.CDLL(None, use_errno=True).renameat2
    arguments = (-100, bytes(sandbox.path / "d"), -100, bytes(sandbox.path / "evil"), 2)  # RENAME_EXCHANGE
    stop = threading.Event()
    swaps: list[int] = []

    def flip() -> None:
        while not stop.is_set():
            swaps.append(swap(*arguments))

    flipper = threading.Thread(target=flip)
    flipper.start()
    seen = set()
    try:
        for _ in range(1500):
            try:
                seen.add(content(sandbox.open_read("d/file")))
                place, name = sandbox.open_parent("d/sub/deep/new", create=True)
                try:
                    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, dir_fd=place))
                finally:
                    os.close(place)
            except (ValueError, FileNotFoundError, NotADirectoryError, BlockingIOError):
                seen.add(b"refused")
    finally:
        stop.set()
        flipper.join()
    assert set(swaps) == {0}
    assert seen <= {b"ours", b"refused"}
    assert sorted(os.listdir(tmp_path / "target")) == ["file", "sub"]
    assert os.listdir(tmp_path / "target" / "sub") == []


# --- parents --------------------------------------------------------------------------------------


def test_open_parent_makes_missing_folders_with_plain_modes(sandbox: Sandbox) -> None:
    umask = os.umask(0o022)
    try:
        place, name = sandbox.open_parent("a/b/c/file", create=True)
    finally:
        os.umask(umask)
    try:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=place))
    finally:
        os.close(place)
    assert (sandbox.path / "a/b/c/file").exists()
    assert stat.S_IMODE((sandbox.path / "a/b").stat().st_mode) == 0o755


def test_open_parent_of_a_name_at_the_top(sandbox: Sandbox) -> None:
    place, name = sandbox.open_parent("file", create=False)
    try:
        assert os.path.samestat(os.fstat(place), sandbox.path.stat())
    finally:
        os.close(place)
    assert name == "file"


def test_a_dangling_link_on_the_way_is_not_created_through(sandbox: Sandbox, tmp_path: Path) -> None:
    (sandbox.path / "dangling").symlink_to("nowhere")
    with pytest.raises((FileNotFoundError, ValueError)):
        sandbox.open_parent("dangling/x", create=True)
    assert os.listdir(sandbox.path) == ["dangling"]


# --- the agent's own files ------------------------------------------------------------------------


def test_output_is_truncated_appended_and_blocking(sandbox: Sandbox) -> None:
    (sandbox.path / ".pagent.stdout").write_text("old")
    output = sandbox.open_output(".pagent.stdout")
    try:
        assert os.get_blocking(output)
        assert not os.get_inheritable(output)
        os.write(output, b"one")
        os.lseek(output, 0, os.SEEK_SET)
        os.write(output, b"two")
    finally:
        os.close(output)
    assert (sandbox.path / ".pagent.stdout").read_text() == "onetwo"


def test_output_follows_no_link(sandbox: Sandbox, tmp_path: Path) -> None:
    (sandbox.path / "out").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="not a regular file: 'out'"):
        sandbox.open_output("out")
    assert (tmp_path / "outside").read_text() == "secret"


def test_output_leaves_a_hard_links_other_name_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    os.link(tmp_path / "outside", sandbox.path / "out")
    output = sandbox.open_output("out")
    try:
        os.write(output, b"new")
    finally:
        os.close(output)
    assert (tmp_path / "outside").read_text() == "secret"
    assert (sandbox.path / "out").read_text() == "new"


def test_output_never_waits_for_a_fifo(sandbox: Sandbox) -> None:
    os.mkfifo(sandbox.path / "out")
    with pytest.raises(ValueError, match="not a regular file"):
        sandbox.open_output("out")
    reader = os.open(sandbox.path / "out", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(ValueError, match="not a regular file"):
            sandbox.open_output("out")
    finally:
        os.close(reader)


def test_output_refuses_a_folder(sandbox: Sandbox) -> None:
    (sandbox.path / "out").mkdir()
    with pytest.raises(IsADirectoryError):
        sandbox.open_output("out")


@pytest.mark.parametrize("flag", [None, 0])
def test_spool_has_no_name(sandbox: Sandbox, flag: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if flag is not None:
        monkeypatch.setattr("pagent.jobs.sandbox._O_TMPFILE", flag)
    spool = sandbox.open_spool()
    try:
        os.write(spool, b"bytes")
        assert os.pread(spool, 10, 0) == b"bytes"
        assert os.fstat(spool).st_nlink == 0
        assert os.fstat(spool).st_dev == sandbox.path.stat().st_dev
        assert list(sandbox.path.iterdir()) == []
    finally:
        os.close(spool)


# --- the end -------------------------------------------------------------------------------------


def test_a_removed_sandbox_opens_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.remove()
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "f").write_text("another")
    for call in (
        sandbox.open_read,
        sandbox.open_dir,
        sandbox.open_output,
        lambda p: sandbox.open_parent(p, create=True),
    ):
        with pytest.raises(FileNotFoundError, match=r"'f'$"):
            call("f")


def test_the_descriptor_outlives_a_look_up_that_is_under_way(tmp_path: Path, descriptors: Callable[[], int]) -> None:
    """Otherwise its number could be that of another folder when the look-up uses it."""
    entered, resumed = threading.Event(), threading.Event()

    def slow(folder: int, path: str, flags: int, mode: int) -> int:
        entered.set()
        assert resumed.wait(10)
        os.fstat(folder)
        return open_by_walk(folder, path, flags, mode)

    sandbox = Sandbox.create(tmp_path, "job", opener=slow)
    (sandbox.path / "f").write_text("x")
    outcome: list[BaseException] = []

    def look() -> None:
        try:
            sandbox.open_read("f")
        except OSError as error:
            outcome.append(error)

    before = descriptors()
    looker = threading.Thread(target=look)
    looker.start()
    assert entered.wait(10)
    sandbox.remove()
    assert descriptors() == before
    resumed.set()
    looker.join()
    assert [type(error) for error in outcome] == [FileNotFoundError]
    assert descriptors() == before - 1


def test_remove_if_small_takes_a_few_files(sandbox: Sandbox, descriptors: Callable[[], int]) -> None:
    for number in range(3):
        (sandbox.path / f"f{number}").write_text("x")
    before = descriptors()
    assert not sandbox.remove_if_small(2)
    assert len(os.listdir(sandbox.path)) == 3
    assert sandbox.remove_if_small(3)
    assert not sandbox.path.exists()
    assert descriptors() == before - 1
    assert sandbox.remove_if_small()


@pytest.mark.parametrize("kind", ["folder", "large"])
def test_remove_if_small_leaves_what_takes_long(sandbox: Sandbox, kind: str) -> None:
    (sandbox.path / "f").touch()
    if kind == "folder":
        (sandbox.path / "d").mkdir()
    else:
        os.truncate(sandbox.path / "f", 100 << 20)
    before = sorted(os.listdir(sandbox.path))
    assert not sandbox.remove_if_small()
    assert sorted(os.listdir(sandbox.path)) == before
    sandbox.remove()
    assert not sandbox.path.exists()


@pytest.mark.parametrize("what", ["small", "large", "replaced by a folder", "more"])
def test_remove_if_small_with_output_files(sandbox: Sandbox, what: str, descriptors: Callable[[], int]) -> None:
    for name in ("out", "err"):
        os.close(sandbox.open_output(name))
    if what == "large":
        os.truncate(sandbox.path / "out", 100 << 20)
    elif what == "replaced by a folder":
        (sandbox.path / "err").unlink()
        (sandbox.path / "err").mkdir()
    elif what == "more":
        (sandbox.path / "err").unlink()
        (sandbox.path / "f").write_text("x")
    before = descriptors()
    gone = sandbox.remove_if_small()
    assert gone is (what in ("small", "more"))
    assert sandbox.path.exists() is not gone
    if what == "large":
        assert (sandbox.path / "out").stat().st_size == 100 << 20
    sandbox.remove()
    assert not sandbox.path.exists()
    assert descriptors() == before - 3  # of the folder, and of the two that were kept


# --- file systems mounted below ----------------------------------------------------------------------


@pytest.fixture
def mounted(sandbox: Sandbox) -> Iterator[Path]:
    """A folder of the sandbox that another file system is mounted on."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    place = sandbox.path / "mounted"
    place.mkdir()
    if os.system(f"mount -t tmpfs tmpfs {place} 2>/dev/null") != 0:
        pytest.skip("nothing can be mounted here")
    try:
        (place / "folder").mkdir()
        (place / "folder/file").write_text("of another file system")
        yield place
    finally:
        os.system(f"umount {place}")


def test_another_file_system_is_not_entered(sandbox: Sandbox, mounted: Path, descriptors: Callable[[], int]) -> None:
    before = descriptors()
    with pytest.raises(ValueError, match="leaves the sandbox"):
        sandbox.open_dir("mounted")
    for path in ("mounted/folder/file", "mounted/new"):
        with pytest.raises(ValueError, match="leaves the sandbox"):
            sandbox.open_read(path)
        with pytest.raises(ValueError, match="leaves the sandbox"):
            sandbox.open_parent(path, create=True)
    assert descriptors() == before
    assert os.listdir(mounted) == ["folder"]


# --- given to a user ------------------------------------------------------------------------------

as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to run as root")
UNPRIVILEGED = 65534


@as_root
def test_all_of_it_becomes_the_users_the_sandbox_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox.create(tmp_path, "uid")
    outside = tmp_path / "outside"
    outside.write_text("not the job's")
    (sandbox.path / "a" / "b").mkdir(parents=True)
    (sandbox.path / "a" / "b" / "file").touch()
    (sandbox.path / "link").symlink_to(outside)
    given: list[str] = []
    chown = os.chown

    def noted(name: str, *arguments: Any, **keywords: Any) -> None:
        assert keywords["follow_symlinks"] is False
        given.append(name)
        assert sandbox.path.stat().st_uid == 0, "no other user can get in yet"
        chown(name, *arguments, **keywords)

    monkeypatch.setattr(os, "chown", noted)
    sandbox.give_to(UNPRIVILEGED, UNPRIVILEGED)
    assert given[-1] == "."
    assert given.index("file") < given.index("b") < given.index("a")
    found = [sandbox.path, *sandbox.path.rglob("*")]
    assert {path.lstat().st_uid for path in found} == {UNPRIVILEGED}
    assert len(found) == 5
    assert outside.stat().st_uid == 0
    sandbox.remove()


@as_root
def test_a_file_with_a_name_elsewhere_is_not_given_away(tmp_path: Path) -> None:
    sandbox = Sandbox.create(tmp_path, "uid")
    outside = tmp_path / "outside"
    outside.write_text("not the job's")
    (sandbox.path / "a").mkdir()
    os.link(outside, sandbox.path / "a" / "linked")
    with pytest.raises(ValueError, match="'a/linked' cannot become the job's: the file has several names"):
        sandbox.give_to(UNPRIVILEGED, UNPRIVILEGED)
    assert outside.stat().st_uid == 0
    assert sandbox.path.stat().st_uid == 0
    os.chown(outside, UNPRIVILEGED, UNPRIVILEGED)
    sandbox.give_to(UNPRIVILEGED, UNPRIVILEGED)
    assert sandbox.path.stat().st_uid == UNPRIVILEGED
    sandbox.remove()
