"""For all tests of the keeper: a keeper process, and the control sockets of its supervisors."""

from __future__ import annotations

import marshal
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pagent.jobs.keeper import protocol
from pagent.jobs.keeper_client import keeper_command
from pagent.jobs.tree import NATIVE
from tests.jobs.conftest import PATIENCE_S

KINDS = ("SUPERVISOR", "FORKED", "FAILED", "EXITED", "EMPTY")


class Control:
    """The agent's end of a control socket."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        end.settimeout(PATIENCE_S)
        self.pid = 0
        self._settled: dict[int, int] = {}

    def reports(self, count: int) -> list[tuple[str, int, int]]:
        """Return ``count`` reports, without start times: kind, run, number."""
        return [report[:3] for report in self.whole_reports(count)]

    def whole_reports(self, count: int) -> list[tuple[str, int, int, int]]:
        found = []
        for _ in range(count):
            data = self.socket.recv(protocol.REPORT.size, socket.MSG_WAITALL)
            kind, *rest = protocol.REPORT.unpack(data)
            found.append((KINDS[kind], *rest))
        return found

    def ask(self, run: int, plan: dict[str, Any], folder: Path, out: int | None = None) -> None:
        content = os.memfd_create("plan")
        os.write(content, marshal.dumps(plan))
        nothing = os.open(os.devnull, os.O_RDWR)
        place = os.open(folder, os.O_RDONLY)
        stdout = nothing if out is None else out
        self._settled[run], settling = os.pipe()
        descriptors = [content, nothing, stdout, stdout, place, settling]
        socket.send_fds(self.socket, [protocol.REQUEST.pack(run)], descriptors)
        for descriptor in (content, nothing, place, settling):
            os.close(descriptor)

    def failure(self, run: int) -> tuple[int, int] | None:
        """Wait until the child is its program, or return the error and the step that it has failed with."""
        with open(self._settled.pop(run), "rb") as pipe:
            data = pipe.read()
        return protocol.FAILURE.unpack(data) if data else None

    def close(self) -> None:
        self.socket.close()
        for settled in self._settled.values():
            os.close(settled)
        self._settled.clear()

    def ended(self) -> bool:
        """Has the supervisor closed its end?"""
        return self.socket.recv(1) == b""


def plan(*args: str, env: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "program": args[0],
        "args": args,
        "environment": {"PATH": os.environ["PATH"], **(env or {})},
        "terminal": False,
        "oom_extra": 0,
        "cgroup": None,
        "user": None,
        "no_new_privs": False,
        "limits": {},
    }
    return given | options


class Keeper:
    """A keeper process."""

    def __init__(self) -> None:
        self.controls: list[Control] = []
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                keeper_command(theirs.fileno()),
                env={},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def supervisor(self) -> Control:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.socket, [b"s"], [theirs.fileno()])
        control = Control(ours)
        self.controls.append(control)
        ((kind, _, pid, started),) = control.whole_reports(1)
        assert kind == "SUPERVISOR"
        found = NATIVE.stat(pid)
        assert found is not None
        assert found.key == (pid, started)
        control.pid = pid
        return control

    def close(self) -> int:
        self.socket.close()
        for control in self.controls:
            control.close()
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def kept() -> Iterator[Keeper]:
    found = Keeper()
    yield found
    assert found.close() == 0


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)
