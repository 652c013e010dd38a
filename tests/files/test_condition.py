"""Conditions of uploads and removals."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pagent.errors import FileChangedError
from pagent.files.condition import ANY_VERSION, Condition, version_of
from pagent.jobs.sandbox import Sandbox


def version(sandbox: Sandbox, name: str = "f") -> str:
    return version_of((sandbox.path / name).stat())


def test_a_version_changes_with_the_content_whatever_the_times_say(sandbox: Sandbox) -> None:
    file = sandbox.path / "f"
    file.write_bytes(b"one")
    before, status = version(sandbox), file.stat()
    assert version(sandbox) == before
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    while file.stat().st_ctime_ns == status.st_ctime_ns:  # the kernel's clock ticks every few milliseconds
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_mtime_ns == status.st_mtime_ns
    assert version(sandbox) != before


def test_what_a_condition_says(sandbox: Sandbox) -> None:
    for condition in (Condition(), Condition(absent=True)):
        condition.check(sandbox, "f")
    for condition in (Condition([ANY_VERSION]), Condition([]), Condition(["x"])):
        with pytest.raises(FileChangedError, match="does not exist"):
            condition.check(sandbox, "f")
    (sandbox.path / "f").write_bytes(b"one")
    os.symlink("f", sandbox.path / "link")
    for name in ("f", "link"):
        for condition in (Condition(), Condition([ANY_VERSION]), Condition(["x", version(sandbox)])):
            condition.check(sandbox, name)
        for condition in (Condition([]), Condition(["x"])):
            with pytest.raises(FileChangedError, match="has changed"):
                condition.check(sandbox, name)
        with pytest.raises(FileChangedError, match="exists"):
            Condition(absent=True).check(sandbox, name)


@pytest.mark.parametrize(
    ("match", "error"), [("x", TypeError), ([1], TypeError), ({}, TypeError), (["x"] * 65, ValueError)]
)
def test_what_is_no_condition(match: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Condition(match)
