from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from pagent.jobs.output import STDERR, STDOUT, open_output
from pagent.jobs.sandbox import Sandbox


def test_two_files_opened_anew_and_closed(tmp_path: Path) -> None:
    sandbox = Sandbox.create(tmp_path, "uid")
    (sandbox.path / STDOUT).write_text("of before")
    with ExitStack() as closing:
        stdout, stderr = open_output(sandbox, False, closing)
        assert stdout is not None
        assert stderr is not None
        os.write(stdout, b"out")
        os.write(stderr, b"err")
    assert (sandbox.path / STDOUT).read_bytes() == b"out"
    assert (sandbox.path / STDERR).read_bytes() == b"err"
    for descriptor in (stdout, stderr):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    sandbox.remove()


def test_forwarding_opens_nothing(tmp_path: Path) -> None:
    sandbox = Sandbox.create(tmp_path, "uid")
    with ExitStack() as closing:
        assert open_output(sandbox, True, closing) == (None, None)
    assert list(sandbox.path.iterdir()) == []
    sandbox.remove()


def test_a_second_file_that_cannot_be_opened_closes_the_first(tmp_path: Path) -> None:
    sandbox = Sandbox.create(tmp_path, "uid")
    (sandbox.path / STDERR).symlink_to("elsewhere")
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(ValueError, match=STDERR), ExitStack() as closing:
        open_output(sandbox, False, closing)
    assert len(os.listdir("/dev/fd")) == before + 1  # a descriptor is kept for readers
    sandbox.remove()
    assert len(os.listdir("/dev/fd")) == before - 1
