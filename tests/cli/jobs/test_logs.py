"""``pagent logs -f`` ends once its output has no place to go, with an agent and with a router."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.commands import Outcome, command
from tests.kit.remotes import RemoteProcess

#: Generous: such a command ends with the next line of the job.
_PATIENCE_S = 60

#: A job that writes to its standard output alone, so that the other output is followed without end.
_WRITES = "while :; do echo line; sleep 0.1; done"


@pytest.fixture(params=["broken pipe", "full disk"])
def unwritable(request: pytest.FixtureRequest) -> Iterator[int]:
    """A descriptor to which nothing can be written."""
    if request.param == "broken pipe":
        reader, descriptor = os.pipe()
        os.close(reader)
    else:
        descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def writing_job(pagent: Callable[..., Outcome]) -> Iterator[str]:
    uid = pagent("start", "--", "sh", "-c", _WRITES).stdout.strip()
    yield uid
    pagent("rm", "-f", uid)


def test_following_ends_with_the_first_output_that_cannot_be_written(
    place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str], unwritable: int
) -> None:
    with writing_job(command(place, tmp_path, capfd)) as uid:
        ended = subprocess.run(
            [sys.executable, "-m", "pagent", "logs", "-f", *place.options, uid],
            stdout=unwritable,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    if ended.returncode == 0:
        assert ended.stderr == ""  # a broken pipe: its reader wants no more
    else:
        assert ended.returncode == 1
        assert ended.stderr.startswith("pagent: stdout cannot be written: No space left on device (pagent help disk-")
