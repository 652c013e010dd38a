"""``pagent top``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pagent.cli.top_work import JobUse, UseTable
from pagent.errors import MethodNotFoundError
from tests.cli.commands import Outcome, command
from tests.kit.commands import environment
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import RemoteProcess
from tests.kit.terminal import Terminal

ENTER, LEAVE = "\033[?1049h", "\033[?1049l"


def info(uid: str, **figures: Any) -> dict[str, Any]:
    return {
        "uid": uid, "name": f"job {uid[-3:]}", "state": "RUNNING", "created_at": 1.0, "cpu_seconds": 0.0,
        "rss_bytes": 0, "open_streams": 0, "last_request_at": None, "last_input_at": None, **figures,
    }  # fmt: skip


class FakeClient:
    """Replaces an `AgentClient` that lists jobs."""

    def __init__(self, infos: list[dict[str, Any]]) -> None:
        self.infos = infos

    async def jobs(self) -> list[Any]:
        return [type("Job", (), {"first_info": each}) for each in self.infos]

    async def agents(self) -> list[Any]:
        raise MethodNotFoundError("agent_list")


async def table_of(infos: list[dict[str, Any]], *names: str) -> UseTable:
    table = UseTable(FakeClient(infos), names)  # type: ignore[arg-type]
    await table.refresh()
    return table


def test_the_use_of_cpu_is_that_since_the_last_list() -> None:
    first = JobUse(info("a", cpu_seconds=1.0), None, 10.0)
    second = JobUse(info("a", cpu_seconds=4.0), first, 12.0)
    assert (first.cores, second.cores) == (None, 1.5)
    assert second.row()[2] == "150%"
    # A job that has ended has none, and a new process of a job that was restarted does not count backwards.
    assert JobUse(info("a", cpu_seconds=None), second, 14.0).cores is None
    assert JobUse(info("a", cpu_seconds=0.0), second, 14.0).cores == 0.0


def test_idle_time() -> None:
    now = time.time()
    assert JobUse(info("a"), None, 0.0).idle_s is None
    assert JobUse(info("a", open_streams=1, last_request_at=now - 100), None, 0.0).idle_s == 0.0
    used = JobUse(info("a", last_request_at=now - 100, last_input_at=now - 50), None, 0.0)
    assert used.idle_s == pytest.approx(50, abs=5)


async def test_500_jobs_in_a_narrow_window() -> None:
    table = await table_of([info(f"{number:032x}", rss_bytes=number << 20) for number in range(500)])
    table.order = "m"
    lines = table.lines(40, 24)
    assert len(lines) == 24
    assert max(map(len, lines)) <= 40
    assert lines[0].startswith("500 jobs, 22 of them here, by memory")
    assert "job 1f3" in lines[2]  # 499 MiB
    table.order = "c"
    assert "job 000" in table.lines(40, 24)[2]  # equal ones by uid


async def test_chosen_jobs_may_end() -> None:
    client = FakeClient([info("aaaa0"), info("bbbb0")])
    table = UseTable(client, ["aaaa0"])  # type: ignore[arg-type]
    await table.refresh()
    assert [use.info["uid"] for use in table.uses()] == ["aaaa0"]
    client.infos = []
    await table.refresh()
    assert table.uses() == []


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
    assert heads.split() == ["UID", "NAME", "CPU", "MEMORY", "STREAMS", "IDLE", "AGE", "STATE"]
    assert row.split()[:2] == [uid[:12], "busy"]
    assert "\033" not in text.stdout
    (job,) = json.loads(run("top", "--json", "busy").stdout)
    assert (job["uid"], job["state"]) == (uid, "RUNNING")
    assert job["cpu_cores"] > 0
    missing: Outcome = run("top", "--once", "missing")
    assert (missing.code, missing.stdout) == (3, "")


@pytest.mark.parametrize("end", ["q", "\x03", "signal"])
def test_on_a_terminal_it_is_live_and_restores_it(place: RemoteProcess, uid: str, tmp_path: Path, end: str) -> None:
    terminal = Terminal()
    terminal.resize(24, 80)
    before = termios.tcgetattr(terminal.device)
    words = [sys.executable, "-m", "pagent", "top", *place.options]
    env = environment(tmp_path) | {"TERM": "xterm"}
    env.pop("COLUMNS", None)
    with subprocess.Popen(
        words, stdin=terminal.device, stdout=terminal.device, stderr=terminal.device, env=env, start_new_session=True
    ) as top:
        try:
            terminal.until(ENTER)
            terminal.until("by CPU")
            terminal.until("%")  # from the second list on
            terminal.type("m")
            terminal.until("by memory")
            terminal.resize(10, 40)
            top.send_signal(signal.SIGWINCH)
            terminal.until("by memory")
            if end == "q":
                terminal.type("q")
            else:  # the terminal is not that of its session, so it sends no signal for Ctrl-C
                top.send_signal(signal.SIGINT if end == "\x03" else signal.SIGTERM)
            terminal.until(LEAVE)
            assert top.wait(PATIENCE_S) == (0 if end == "q" else 130)
        finally:
            top.kill()
            after = termios.tcgetattr(terminal.device)
            terminal.close()
    assert after == before
