"""``pagent top``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pagent.cli.failure import CommandFailed
from pagent.cli.jobs.use_table import JobUse, UseFigures, UseTable
from tests.cli.commands import Outcome, command
from tests.kit.remotes import RemoteProcess, slow_at_a_router
from tests.kit.terminal import on_terminal

ENTER, LEAVE = "\033[?1049h", "\033[?1049l"


def info(uid: str, **more: Any) -> dict[str, Any]:
    return {"uid": uid, "name": f"job {uid[-3:]}", "state": "RUNNING", "created_at": 1.0, **more}


def use(*values: float | None, at: float = 0.0) -> JobUse:
    return JobUse(info("a"), UseFigures(at, *values))  # type: ignore[arg-type]


def table_of(infos: list[dict[str, Any]], *names: str) -> UseTable:
    table = UseTable(names)
    table.take_jobs({"jobs": infos})
    assert not table.is_listed
    table.take_jobs({"ready": True})
    assert table.is_listed
    return table


def uids(table: UseTable) -> list[str]:
    return [each.info["uid"] for each in table.uses()]


def test_a_row() -> None:
    assert use(1.5, 5 << 20, 2, 3 << 10, 7 << 30, 0.0).row()[2:8] == ("150%", "5M", "2", "0s", "3K", "7.0G")
    assert use(None, None, None, None, None, None).row()[2:8] == ("-",) * 6


def test_idle_time_grows_without_messages_and_is_0_while_a_stream_is_open() -> None:
    ago = time.monotonic() - 100
    assert use(0.0, 0, 0, 0, 0, 5.0, at=ago).idle_s == pytest.approx(105, abs=5)
    assert use(0.0, 0, 1, 0, 0, 5.0, at=ago).idle_s == 0.0
    assert use(0.0, 0, 0, 0, 0, None, at=ago).idle_s is None


def test_500_jobs_in_a_narrow_window() -> None:
    table = table_of([info(f"{number:032x}") for number in range(500)])
    table.take_figures({f"{number:032x}": [0.0, number << 20, 0, 0, 0, 0.0] for number in range(500)})
    table.order = "m"
    lines = table.lines(40, 24)
    assert len(lines) == 24
    assert max(map(len, lines)) <= 40
    assert lines[0].startswith("500 jobs, 22 of them here, by memory")
    assert "job 1f3" in lines[2]  # 499 MiB
    table.order = "c"
    assert "job 000" in table.lines(40, 24)[2]  # equal ones by uid


def test_jobs_come_change_and_end() -> None:
    table = table_of([info("aaaa0"), info("bbbb0", state="FINISHED")])
    assert uids(table) == ["aaaa0"]
    table.take_jobs({"job": info("cccc0")})
    assert uids(table) == ["aaaa0", "cccc0"]
    table.take_jobs({"job": info("aaaa0", state="FINISHED")})
    table.take_jobs({"removed": "cccc0"})
    table.take_jobs({"removed": "unknown"})
    assert uids(table) == []


def test_chosen_jobs_may_end() -> None:
    table = table_of([info("aaaa0"), info("bbbb0")], "aaaa0", "job aa0", "aaaa0")
    table.check()
    assert uids(table) == ["aaaa0"]
    table.take_jobs({"removed": "aaaa0"})
    assert uids(table) == []
    with pytest.raises(CommandFailed):
        table.check()


def test_on_another_link_all_jobs_come_again() -> None:
    table = table_of([info("aaaa0"), info("bbbb0")])
    table.begin()
    table.take_jobs({"jobs": [info("bbbb0")]})
    assert uids(table) == ["aaaa0", "bbbb0"]  # until all of them have come
    table.take_jobs({"ready": True})
    assert uids(table) == ["bbbb0"]


def test_it_is_measured_when_cpu_is_known_of_all_that_have_figures() -> None:
    table = table_of([info("aaaa0"), info("bbbb0"), info("cccc0", state="CREATED")])
    assert not table.is_measured
    table.take_figures({"aaaa0": [None, 1, 0, 0, 0, 0.0]})
    assert not table.is_measured
    table.take_figures({"aaaa0": [0.5, 1, 0, 0, 0, 0.0]})
    assert table.is_measured
    assert table_of([info("cccc0", state="CREATED")]).is_measured


# --- with an agent and a router -----------------------------------------------------------------------


@pytest.fixture
def uid(place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[str]:
    run = command(place, tmp_path, capfd)
    started = run("start", "--name", "busy", "--", "sh", "-c", "while :; do :; done").stdout.strip()
    yield started
    run("rm", started)


def test_without_a_terminal_it_is_printed_once(
    place: RemoteProcess, uid: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = command(place, tmp_path, capfd)
    text = run("top")
    assert (text.code, text.stderr) == (0, "")
    heads, row = text.stdout.splitlines()
    assert heads.split() == ["UID", "NAME", "CPU", "MEMORY", "STREAMS", "IDLE", "IN", "OUT", "AGE", "STATE"]
    assert row.split()[:2] == [uid[:12], "busy"]
    assert "\033" not in text.stdout
    (job,) = json.loads(run("top", "--json", "busy").stdout)
    assert (job["uid"], job["state"]) == (uid, "RUNNING")
    assert job["cpu_cores"] > 0
    missing: Outcome = run("top", "--once", "missing")
    assert (missing.code, missing.stdout) == (3, "")


@slow_at_a_router
@pytest.mark.parametrize("end", ["q", "\x03", "signal"])
def test_on_a_terminal_it_is_live_and_restores_it(place: RemoteProcess, uid: str, tmp_path: Path, end: str) -> None:
    with on_terminal(tmp_path, "top", *place.options) as top:
        terminal = top.terminal
        terminal.until(ENTER)
        terminal.until("by CPU")
        terminal.until("%")  # from the second list on
        terminal.type("m")
        terminal.until("by memory")
        top.resize(10, 40)
        terminal.until("by memory")
        if end == "signal":
            top.process.terminate()
        else:
            terminal.type(end)
        terminal.until(LEAVE)
        assert top.ended()[0] == (0 if end == "q" else 130)
