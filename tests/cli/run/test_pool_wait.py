"""``pagent run --pool`` and ``pagent start --pool`` as processes, against a router."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from pagent.config.model import Settings
from tests.cli.commands import outcome_of
from tests.kit.agents import TOKEN
from tests.kit.pools import JOIN, agents_of_pools, keys_in, pool_of, running_pools, states
from tests.kit.programs import ECHO
from tests.kit.terminal import Terminal
from tests.kit.transfers import eventually

SERVER = (sys.executable, "-c", ECHO, "{port}")
WAITS = ("sh", "-c", "cat >/dev/null; echo job 7 waits for {cpus} CPUs; exec sleep 600")


async def pagent(*args: str, stderr: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
    environ = {**os.environ, "PAGENT_TOKEN": TOKEN}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pagent", *args), stdout=asyncio.subprocess.PIPE, stderr=stderr, env=environ
    )


async def said(process: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
    assert process.stderr is not None
    async for line in process.stderr:
        if found := re.search(pattern, line.decode()):
            return found
    raise AssertionError(f"it ended without: {pattern}")


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        content: bytes = answer.read()
        return content


async def test_a_server_is_reached_and_all_ends_with_ctrl_c(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*JOIN)) as (router, host):
        address = ("--agent", f"127.0.0.1:{router.control_port}")
        process = await pagent("run", "--pool", "p", *address, "--", *SERVER)
        url = (await said(process, r"(http://127\.0\.0\.1:\d+/) forwards"))[1]
        assert (await asyncio.to_thread(get, url)).startswith(b"GET / ")
        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert process.returncode == 130
        await eventually(lambda: states(router.pools) == ["ended"])
        assert not host.jobs.jobs()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
async def test_a_signal_in_the_queue_cancels(
    settings: Settings, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The command has not run, so no signal is a success."""
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*WAITS)) as (router, host):
        address = ("--agent", f"127.0.0.1:{router.control_port}")
        process = await pagent("run", "--pool", "p", "--cpus", "4", *address, "--", *SERVER)
        found = await said(process, r"pagent: pool p: job 7 waits for 4 CPUs \(pagent logs (\w{12})\)")
        assert found[1] in [job.uid[:12] for job in host.jobs.jobs()]
        process.send_signal(number)
        _, stderr = await process.communicate()
        assert process.returncode == code
        assert b"\033" not in stderr
        await eventually(lambda: states(router.pools) == ["ended"] and not host.jobs.jobs())


#: An engine that says why it ends the agent after the agent has ended.
CANCELLED = ("sh", "-c", '"$@"; echo job 7 was cancelled; sleep 0.2; exit 1', "sh", *JOIN)
#: Programs that serve, and that never listen.
LISTENS, STARTS = SERVER, ("sh", "-c", "echo it runs >&2; exec sleep 600")


@pytest.mark.parametrize(("command", "sign"), [(LISTENS, r"forwards"), (STARTS, "it runs")], ids=["serves", "starts"])
async def test_the_agent_ends(settings: Settings, tmp_path: Path, command: tuple[str, ...], sign: str) -> None:
    """The command says what the engine says."""
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*CANCELLED)) as (router, host):
        address = ("--agent", f"127.0.0.1:{router.control_port}")
        process = await pagent("run", "--pool", "p", *address, "--", *command)
        await said(process, sign)
        for agent in agents_of_pools():
            agent.terminate()
        _, stderr = await process.communicate()
        last = stderr.decode().splitlines()[-1]
        assert process.returncode == 1, stderr
        assert last.endswith("job 7 was cancelled (pagent help agent-of-pool-ended)"), stderr
        assert b"lost" not in stderr
        assert b"not found" not in stderr
        await eventually(lambda: not host.jobs.jobs())  # the command has read the reason and removed the job


async def test_the_line_of_a_terminal_is_rewritten(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*WAITS)) as (router, _):
        with closing(Terminal()) as terminal:
            address = ("--agent", f"127.0.0.1:{router.control_port}")
            command = ("run", "--pool", "p", "--cpus", "4", *address, "--", *SERVER)
            process = await pagent(*command, stderr=terminal.device)
            text = await asyncio.to_thread(terminal.until, "waits for 4 CPUs")
            assert "\r\033[Kpagent: pool p: job 7 waits" in text
            process.send_signal(signal.SIGINT)
            await process.wait()


FAILURES: list[tuple[tuple[str, ...], int, str]] = [
    (("--pool", "p"), 2, "pool p is refused: agent.cpus: is missing"),
    (("--pool", "p", "--cpus", "1 2"), 2, "agent.cpus: must be"),
    (("--pool", "p", "--cpus", "1", "--param", "x=1"), 2, "agent.x: the pool has no such parameter"),
    (("--pool", "none"), 4, "pool 'none' is not found"),
    (
        ("--pool", "fails"),
        1,
        "pool fails has no agent for the job: the command has ended before its agent came: no such partition",
    ),
]


async def test_failures(settings: Settings, tmp_path: Path) -> None:
    fails = pool_of("sh", "-c", "cat >/dev/null; echo no such partition; exit 1")
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*WAITS), fails=fails) as (router, _):
        address = ("--agent", f"127.0.0.1:{router.control_port}")
        for options, code, reason in FAILURES:
            process = await pagent("run", *options, *address, "--", "true")
            _, stderr = await process.communicate()
            assert (process.returncode, reason in stderr.decode()) == (code, True), stderr


@pytest.mark.parametrize(
    ("options", "reason"), [(("--cpus", "1"), "needs --pool"), (("--pool", "p", "--param", "x"), "expected NAME=VALUE")]
)
def test_wrong_options(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "token").write_text("any\n")
    address = ("--agent", "127.0.0.1:1", "--token-file", str(tmp_path / "token"))
    done = outcome_of(capfd, tmp_path, ["run", *options, *address, "--", "true"])
    assert (done.code, reason in done.stderr) == (2, True), done.stderr


async def test_start_waits_for_the_agent(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*JOIN)) as (router, _):
        address = ("--agent", f"127.0.0.1:{router.control_port}")
        process = await pagent("start", "--pool", "p", *address, "--", "sh", "-c", "exit 3")
        stdout, stderr = await process.communicate()
        uid = stdout.decode().strip()
        assert process.returncode == 0, stderr
        process = await pagent("wait", *address, uid)
        assert (await process.communicate())[0] == b"3\n"
        assert states(router.pools) == ["connected"]
