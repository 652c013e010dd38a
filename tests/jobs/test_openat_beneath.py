"""The two ways to open a path below a folder: they agree on plain paths, and neither leads out."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pagent.jobs import openat_beneath
from pagent.jobs.openat_beneath import FOLDER, Opener, has_openat2, open_by_kernel, open_by_walk
from pagent.jobs.sandbox import Sandbox

KERNEL = pytest.param(
    open_by_kernel, id="kernel", marks=pytest.mark.skipif(not has_openat2(), reason="this kernel has no openat2")
)


@pytest.fixture(params=[KERNEL, pytest.param(open_by_walk, id="walk")])
def opener(request: pytest.FixtureRequest) -> Opener:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def below(tmp_path: Path) -> Path:
    """A folder with files, below one with a secret."""
    (tmp_path / "secret").write_text("secret")
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "f").write_text("content")
    return top


def opened(opener: Opener, folder: Path, path: str, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    place = os.open(folder, FOLDER)
    try:
        return opener(place, path, flags, mode)
    finally:
        os.close(place)


@pytest.mark.parametrize("path", ["", "a", "a/b", "a/b/f"])
def test_a_plain_path(opener: Opener, below: Path, path: str) -> None:
    descriptor = opened(opener, below, path)
    try:
        assert os.path.samestat(os.fstat(descriptor), os.stat(below / path))
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_a_new_file_has_its_mode(opener: Opener, below: Path) -> None:
    umask = os.umask(0)
    try:
        os.close(opened(opener, below, "a/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
    finally:
        os.umask(umask)
    assert stat.S_IMODE((below / "a" / "new").stat().st_mode) == 0o640


def test_a_name_that_is_not_utf8(opener: Opener, below: Path) -> None:
    (below / "\udcff").write_text("x")
    os.close(opened(opener, below, "\udcff"))


@pytest.mark.parametrize("target", ["../secret", "..", "/", "/etc/passwd", "../../.."])
@pytest.mark.parametrize("place", ["link", "a/link"])
def test_a_link_that_leads_out(
    opener: Opener, below: Path, place: str, target: str, descriptors: Callable[[], int]
) -> None:
    (below / place).symlink_to(f"../{target}" if "/" in place and target.startswith(".") else target)
    before = descriptors()
    for path in (place, f"{place}/x"):
        for flags in (os.O_RDONLY, FOLDER, os.O_WRONLY | os.O_CREAT):
            with pytest.raises(OSError, match=r".") as caught:
                opened(opener, below, path, flags)
            assert caught.value.errno in (errno.EXDEV, errno.ELOOP)
            assert caught.value.filename == path
    assert descriptors() == before


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("none", errno.ENOENT),
        ("none/x", errno.ENOENT),
        ("a/b/f/x", errno.ENOTDIR),
        ("a/" + "x" * 300, errno.ENAMETOOLONG),
    ],
)
def test_errors_are_those_of_the_system(
    opener: Opener, below: Path, path: str, number: int, descriptors: Callable[[], int]
) -> None:
    before = descriptors()
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        opened(opener, below, path)
    assert (caught.value.errno, caught.value.filename) == (number, path)
    assert descriptors() == before


def test_a_loop_of_links_ends(opener: Opener, below: Path) -> None:
    (below / "one").symlink_to("two")
    (below / "two").symlink_to("one")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        opened(opener, below, "one")


@pytest.mark.skipif(not has_openat2(), reason="this kernel has no openat2")
def test_magic_links_are_refused() -> None:
    # Below /proc itself a magic link is the only thing that could lead out.
    start = os.open("/proc", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            open_by_kernel(start, f"{os.getpid()}/cwd", os.O_RDONLY)
    finally:
        os.close(start)


@pytest.mark.skipif(not has_openat2(), reason="this kernel has no openat2")
@pytest.mark.parametrize(("error", "tries"), [(errno.EAGAIN, 16), (errno.EINTR, 16), (errno.EACCES, 1)])
def test_races_are_tried_again_a_few_times(error: int, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fail(*_: object) -> int:
        calls.append(1)
        ctypes.set_errno(error)
        return -1

    monkeypatch.setattr(openat_beneath, "_syscall", lambda: fail)
    with pytest.raises(OSError, match=os.strerror(error)):
        open_by_kernel(0, "x", os.O_RDONLY)
    assert len(calls) == tries


def test_without_openat2_the_walk_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    monkeypatch.setattr(openat_beneath, "_syscall", lambda: missing)
    openat_beneath.has_openat2.cache_clear()
    try:
        assert not openat_beneath.has_openat2()
        sandbox = Sandbox.create(tmp_path, "job")
        (sandbox.path / "f").write_text("x")
        os.close(sandbox.open_read("f"))
        sandbox.remove()
    finally:
        openat_beneath.has_openat2.cache_clear()


@pytest.fixture
def layered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each file a device number of its own, as an overlay file system may do."""
    fstat = os.fstat

    def of_layer(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            return found
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:]))

    monkeypatch.setattr(os, "fstat", of_layer)


@pytest.mark.usefixtures("layered")
def test_files_of_the_layers_of_an_overlay_are_opened(opener: Opener, below: Path) -> None:
    os.close(opened(opener, below, "a/b/f"))
    os.close(opened(opener, below, "a/b/new", os.O_WRONLY | os.O_CREAT, 0o600))


@pytest.mark.usefixtures("layered")
def test_the_walk_does_not_open_a_file_of_another_file_system(below: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = iter((1, 2))
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_fsid=next(ids)))
    with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
        opened(open_by_walk, below, "a/b/f")
