"""The walk through a sandbox: order, pages, and entries that cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagent import limits
from pagent.files.entries import SandboxEntry
from pagent.files.pack import Packer
from pagent.files.walk import walk
from pagent.jobs.sandbox import Sandbox

TREE = ["a", "a/b", "a/b/c", "a/b/c/f", "a/b/d", "a/x", "a.b", "a0", "b", "b/1", "b/2", "c", "ä", "\U0010fe80"]
FOLDERS = {"a", "a/b", "a/b/c", "b"}


@pytest.fixture
def filled(sandbox: Sandbox) -> Sandbox:
    for path in TREE:
        place = sandbox.path / path.replace("\U0010fe80", "\udc80")
        place.mkdir() if path in FOLDERS else place.touch()
    return sandbox


def paths(found: Iterator[SandboxEntry]) -> list[str]:
    return [one.path for one in found]


def test_the_order_of_a_walk(filled: Sandbox) -> None:
    assert paths(walk(filled)) == [
        "a", "a/b", "a/b/c", "a/b/c/f", "a/b/d", "a/x", "a.b", "a0", "b", "b/1", "b/2", "c", "ä", "\U0010fe80",
    ]  # fmt: skip


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("held", [1, 3, 1000])
@pytest.mark.parametrize("top", ["", "a", "a/b"])
def test_a_walk_continues_after_any_entry(
    filled: Sandbox, recursive: bool, held: int, top: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = paths(walk(filled, top, recursive=recursive))
    monkeypatch.setattr(limits, "WALK_NAMES", held)
    monkeypatch.setattr("pagent.files.walk.DISK_TURN_ENTRIES", held)
    assert paths(walk(filled, top, recursive=recursive)) == whole
    for count, path in enumerate(whole, 1):
        assert paths(walk(filled, top, recursive=recursive, after=path)) == whole[count:]


@given(st.sets(st.text("ab0/", min_size=1, max_size=7), max_size=12), st.text("ab0/", min_size=1, max_size=7))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_walk_continues_after_an_entry_that_was_deleted(tmp_path: Path, made: set[str], after: str) -> None:
    after = "/".join(part for part in after.split("/") if part) or "a"
    root = tmp_path / "root"
    root.mkdir()
    sandbox = Sandbox.create(root, "job")
    try:
        for path in made:
            (sandbox.path / path.strip("/")).mkdir(parents=True, exist_ok=True)
        whole = paths(walk(sandbox))
        expected = [path for path in whole if path.split("/") > after.split("/")]
        assert paths(walk(sandbox, after=after)) == expected
    finally:
        sandbox.remove()
        root.rmdir()


def test_a_path_that_is_too_long_fails_alone(sandbox: Sandbox) -> None:
    (sandbox.path / "z").touch()
    folder = os.open(sandbox.path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=folder)
        below = os.open("x" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("f", os.O_CREAT, dir_fd=folder))
    os.close(folder)
    found = list(walk(sandbox))
    assert found[-1].path == "z"
    assert [one.error for one in found if one.error] == ["File name too long"]
    packer = Packer(sandbox, None, "x*")
    while packer.note():
        pass
    assert packer.skipped.count == 0  # all unreadable entries are excluded
    packer.close()


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from pagent.files.pack import Packer
from pagent.files.walk import walk
from pagent.jobs.sandbox import Sandbox
os.setgid(65534), os.setuid(65534)
sandbox = Sandbox.create(Path(sys.argv[1]), "job")
for folder in ("closed", "listed", "open"):
    (sandbox.path / folder).mkdir()
    (sandbox.path / folder / "f").write_text("content")
(sandbox.path / "secret").write_text("content")
(sandbox.path / "secret").chmod(0)
(sandbox.path / "closed").chmod(0)
(sandbox.path / "listed").chmod(0o400)
print([(found.path, found.error) for found in walk(sandbox)])
packer = Packer(sandbox, None, None)
while packer.note():
    pass
while packer.read(1 << 16):
    pass
print(sorted(packer.skipped.names))
packer = Packer(sandbox, None, "[cls]*")
while packer.note():
    pass
print(packer.skipped.names)
for folder in ("closed", "listed"):
    (sandbox.path / folder).chmod(0o700)
sandbox.remove()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_an_unreadable_folder_fails_alone() -> None:
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o777)
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, root], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.stderr == ""
    denied = "Permission denied"
    walked, skipped, excluded = done.stdout.splitlines()
    expected = [("closed", denied), ("listed", None), ("listed/f", denied), ("open", None), ("open/f", None)]
    assert walked == repr([*expected, ("secret", None)])
    assert skipped == repr([f"closed: {denied}", f"listed/f: {denied}", f"secret: {denied}"])
    assert excluded == "[]"


def test_a_mounted_file_system_is_listed_and_not_entered(sandbox: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    (sandbox.path / "mounted").mkdir()
    (sandbox.path / "z").touch()
    if os.system(f"mount -t tmpfs tmpfs {sandbox.path}/mounted 2>/dev/null") != 0:
        pytest.skip("nothing can be mounted here")
    try:
        (sandbox.path / "mounted/f").touch()
        found = [(one.path, one.kind, one.error) for one in walk(sandbox)]
    finally:
        os.system(f"umount {sandbox.path}/mounted")
    assert found == [("mounted", "dir", "another file system is mounted there"), ("z", "file", None)]
