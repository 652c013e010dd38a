from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pagent.jobs.keeper.process import ONE, control_process, start_time
from pagent.jobs.tree import NATIVE
from tests.jobs.conftest import PATIENCE_S, PYTHON

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

#: Prints how many bytes the pipe has before and after the end of a child, and whether its read waits.
WAKING = """
import os, select
from pagent.jobs.keeper.process import wake_on_exit
wake, waker = wake_on_exit()
print(select.select([wake], [], [], 0)[0] == [], os.get_blocking(wake), os.get_inheritable(wake))
for _ in range(2):
    pid = os.posix_spawnp("true", ["true"], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    select.select([wake], [], [], 30)
    print(len(os.read(wake, 4096)))
    os.waitpid(pid, 0)
"""


def test_the_start_time_is_that_of_the_process_table() -> None:
    own = NATIVE.stat(os.getpid())
    assert own is not None
    assert start_time("self") == start_time(os.getpid()) == own.started


@pytest.mark.parametrize("name", [") R 1 1 1", "a b)", "((("])
def test_the_name_of_a_process_may_hold_anything(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "1000"]) as process:
        try:
            found = NATIVE.stat(process.pid)
            assert found is not None
            assert start_time(process.pid) == found.started
        finally:
            process.kill()


def test_a_process_that_is_not_there_has_no_start_time() -> None:
    process = subprocess.Popen(["true"])
    assert process.wait(PATIENCE_S) == 0
    assert start_time(process.pid) == 0


def test_the_system_refuses_an_unknown_option() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)) as caught:
        control_process(2**30, ONE)
    assert caught.value.errno == errno.EINVAL


def test_the_pipe_is_readable_after_each_end_of_a_child() -> None:
    """The process that starts it may ignore SIGCHLD, or block it."""
    command = [PYTHON, "-c", WAKING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stdout.split("\n") == ["True False False", "1", "1", ""]
