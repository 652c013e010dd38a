"""The steps of a child between its fork and its program."""

from __future__ import annotations

import errno
import json
import marshal
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from pagent.jobs.keeper import protocol
from tests.jobs.conftest import PYTHON
from tests.jobs.keeper.conftest import Keeper, plan

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def test_what_the_process_finds(kept: Keeper, tmp_path: Path) -> None:
    script = """
import json, os, signal
print(json.dumps([os.getcwd(), os.environb[b"\\xff"].hex(), dict(os.environ)["PWD"], os.getsid(0) == os.getpid(),
    sorted(os.listdir("/proc/self/fd")), [line for line in open("/proc/self/status") if line.startswith("Sig")]]))
"""
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    control = kept.supervisor()
    environment = {"\udcff": "\udcfe", "PYTHONUTF8": "1"}
    control.ask(1, plan(PYTHON, "-c", script, env=environment), tmp_path, out)
    os.close(out)
    _, exited, _ = control.reports(3)
    assert exited == ("EXITED", 1, 0)
    folder, value, pwd, leads, descriptors, signals = json.loads((tmp_path / "out").read_text())
    assert (folder, pwd, value, leads) == (str(tmp_path), str(tmp_path), "fe", True)
    assert descriptors == ["0", "1", "2", "3"]
    table = dict(line.split() for line in signals)
    assert int(table["SigBlk:"], 16) == 0


def test_every_signal_has_its_default(kept: Keeper, tmp_path: Path) -> None:
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    control = kept.supervisor()
    control.ask(1, plan("grep", "Sig", "/proc/self/status"), tmp_path, out)
    os.close(out)
    control.reports(3)
    table = dict(line.split() for line in (tmp_path / "out").read_text().splitlines())
    # The C library keeps two signals for itself, and lets no program change them.
    changeable = sum(1 << (number - 1) for number in signal.valid_signals())
    assert (int(table["SigBlk:"], 16), int(table["SigIgn:"], 16) & changeable) == (0, 0)


@pytest.mark.parametrize(
    ("program", "number", "step"),
    [
        ("no-such-program", errno.ENOENT, protocol.EXECUTE),
        ("./file", errno.EACCES, protocol.EXECUTE),
        ("./no/file", errno.ENOENT, protocol.EXECUTE),
        ("file/x", errno.ENOTDIR, protocol.EXECUTE),
        ("inaccessible", errno.EACCES, protocol.EXECUTE),
    ],
)
def test_a_program_that_cannot_be_executed(kept: Keeper, tmp_path: Path, program: str, number: int, step: int) -> None:
    (tmp_path / "file").write_text("not executable")
    (tmp_path / "inaccessible").write_text("not executable")
    control = kept.supervisor()
    control.ask(1, plan(program, env={"PATH": "/nowhere:/etc/passwd:."}), tmp_path)
    assert [report[0] for report in control.reports(3)] == ["FORKED", "EXITED", "EMPTY"]
    assert control.failure(1) == (number, step)
    assert control.ended()


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"cgroup": "/no/such/group"}, protocol.CONFINE),
        ({"limits": {"NOFILE": [2**62, 1]}}, protocol.CONFINE),
        ({"limits": {"NO_SUCH": [1, 1]}}, protocol.CONFINE),
        ({"environment": {"A=B\0": "C"}}, protocol.EXECUTE),
        ({"args": []}, protocol.EXECUTE),
        ({"program": "a\0b"}, protocol.EXECUTE),
    ],
)
def test_a_plan_that_cannot_be_carried_out(kept: Keeper, tmp_path: Path, options: dict[str, Any], step: int) -> None:
    control = kept.supervisor()
    control.ask(1, plan("true", **options), tmp_path)
    assert [report[0] for report in control.reports(3)] == ["FORKED", "EXITED", "EMPTY"]
    failure = control.failure(1)
    assert failure is not None
    assert failure[1] == step


def test_a_plan_that_is_none(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    control.ask(1, {}, tmp_path)
    assert [report[0] for report in control.reports(3)] == ["FORKED", "EXITED", "EMPTY"]
    assert control.failure(1) == (errno.EINVAL, protocol.CONFINE)


def test_a_working_folder_that_is_gone(kept: Keeper, tmp_path: Path) -> None:
    control = kept.supervisor()
    place = tmp_path / "place"
    place.mkdir()
    folder = os.open(place, os.O_RDONLY)
    place.rmdir()
    control.ask(1, plan("true"), Path(f"/proc/self/fd/{folder}"))
    os.close(folder)
    assert control.failure(1) == (errno.ENOENT, protocol.ENTER)
    assert [report[0] for report in control.reports(3)] == ["FORKED", "EXITED", "EMPTY"]


def test_a_terminal(kept: Keeper, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    control = kept.supervisor()
    content = os.memfd_create("plan")
    os.write(content, marshal.dumps(plan("sh", "-c", "tty; echo here > /dev/tty", terminal=True)))
    place = os.open(tmp_path, os.O_RDONLY)
    name = os.ttyname(theirs)
    socket.send_fds(control.socket, [protocol.REQUEST.pack(1)], [content, theirs, theirs, theirs, place, place])
    for descriptor in (content, place, theirs):
        os.close(descriptor)
    control.reports(3)
    assert os.read(ours, 4096).split() == [name.encode(), b"here"]
    os.close(ours)


def test_a_start_that_takes_long_is_reported_before_it_is_over(kept: Keeper, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cgroup.procs")  # its opening waits for a reader
    control = kept.supervisor()
    control.ask(1, plan("true", cgroup=str(tmp_path)), tmp_path)
    assert [report[0] for report in control.reports(1)] == ["FORKED"]
    assert (tmp_path / "cgroup.procs").read_text() == "0"
    assert control.failure(1) is None
    assert [report[0] for report in control.reports(2)] == ["EXITED", "EMPTY"]
