"""A child process in the foreground: process group, signals and exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.kit.peer import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="waits for signals with their senders")

#: Runs the command in its arguments as a child, then prints its exit code.
PARENT = """
import sys
from pagent.cli.servers.child import ForegroundChild
with ForegroundChild(sys.argv[1:]) as child:
    child.wait()
print("exit code", child.exit_code, flush=True)
"""

#: Prints its pid, then each signal that it receives. Ends at the end of its input.
PRINTS_SIGNALS = """
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGRTMIN + 1):
    signal.signal(number, lambda number, frame: os.write(1, b"signal %d\\n" % number))
print(os.getpid(), flush=True)
sys.stdin.read()
print("no more input", flush=True)
"""


class Family:
    """A parent process, and the command that is its child."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.command = psutil.Process(int(self.line()))

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")


@contextmanager
def parent_of(*command: str, env: dict[str, str] | None = None, group: bool = True) -> Iterator[Family]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=group,
        env=os.environ | (env or {}),
    )
    with process:
        standing = Family(process)
        try:
            yield standing
        finally:
            process.kill()
            until_ended(standing.command)


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until_ended(process: psutil.Process) -> None:
    """Wait until the process ends. Its zombie may remain, because the system reaps orphans."""
    deadline = time.monotonic() + PATIENCE_S
    while not gone(process):
        assert time.monotonic() < deadline, f"{process} still runs"
        time.sleep(0.01)


SIGNAL_PRINTER = [sys.executable, "-c", PRINTS_SIGNALS]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGRTMIN + 1])
def test_a_signal_to_the_process_reaches_the_command_once(number: int) -> None:
    with parent_of(*SIGNAL_PRINTER, group=False) as standing:
        standing.process.send_signal(number)
        assert standing.line() == f"signal {int(number)}"
        standing.process.communicate("", PATIENCE_S)
        assert standing.process.returncode == 0


def test_a_signal_to_the_process_group_reaches_the_command_once() -> None:
    with parent_of(*SIGNAL_PRINTER) as standing:
        os.killpg(standing.process.pid, signal.SIGTERM)
        assert standing.line() == f"signal {int(signal.SIGTERM)}"
        rest, _ = standing.process.communicate("", PATIENCE_S)
        assert rest == "no more input\nexit code 0\n"


def test_a_signal_of_an_agent_that_signals_all_processes_is_not_doubled() -> None:
    with parent_of(*SIGNAL_PRINTER, env={"DA__PAGENT__JOB_UID": "a job"}) as standing:
        for process in (standing.process, standing.command):
            process.send_signal(signal.SIGTERM)
        assert standing.line() == f"signal {int(signal.SIGTERM)}"
        rest, _ = standing.process.communicate("", PATIENCE_S)
        assert rest == "no more input\nexit code 0\n"


@pytest.mark.parametrize("how", ["process", "group"])
def test_the_command_is_killed_with_the_process(how: str) -> None:
    script = f"{sys.executable} -c 'import time; time.sleep(1000)' & echo $$ $!; wait"
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, "sh", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        family = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        if how == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        for member in family:
            until_ended(member)
        assert process.stdout.read() == ""  # the guard has ended, too


def test_a_background_process_of_the_command_outlives_it() -> None:
    script = f"{sys.executable} -c 'import time; time.sleep(1000)' >/dev/null & echo $!"
    with subprocess.Popen([sys.executable, "-c", PARENT, "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        left = psutil.Process(int(process.stdout.readline()))
        assert process.stdout.read() == b"exit code 0\n"
        assert left.is_running()
        left.kill()


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)])
def test_the_exit_code(script: str, code: int) -> None:
    command = [sys.executable, "-c", PARENT, "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.stdout == f"exit code {code}\n"


def test_the_command_has_signals_and_environment_as_without_the_process() -> None:
    """No signal is blocked, SIGPIPE is not ignored, and the interpreter's locale is left out (PEP 538)."""
    shell = "grep -E 'Sig(Blk|Ign)' /proc/self/status; env | grep ^LC_"
    env = {name: value for name, value in os.environ.items() if not name.startswith("LC_") and name != "LANG"}
    command = ["env", "--default-signal", sys.executable, "-c", PARENT, "sh", "-c", shell]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S, env=env, check=False)
    blocked, ignored, code = done.stdout.splitlines()
    assert int(blocked.split()[1], 16) == 0
    # glibc's posix_spawn(3) ignores the two signals of the library's own, 32 and 33.
    assert int(ignored.split()[1], 16) & ~(0b11 << 31) == 0
    assert code == "exit code 1"
