"""Agents to test: one in the test's own loop, and one as a process."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pagent.agent import Agent
from pagent.config.model import Settings
from tests.kit.peer import PATIENCE_S

TOKEN = "a-token-of-the-tests"


def with_token(folder: Path, token: str = TOKEN) -> list[str]:
    """The options of a command that presents a token."""
    file = folder / f"token-{token}"
    file.write_text(f"# a comment\n\n{token}\n")
    return ["--token-file", str(file)]


@asynccontextmanager
async def running_agent(settings: Settings) -> AsyncIterator[Agent]:
    """An agent in this loop; all that it ran has ended after the block."""
    agent = Agent(settings)
    try:
        await agent.start()
        yield agent
    finally:
        agent.end(0)
        agent.end(0)  # no grace for jobs that are left
        await agent.stop()


class AgentProcess:
    """``python -m pagent``; ``ports`` and ``uid`` are those that it logged, ``log`` all lines so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []
        self.ports: dict[str, int] = {}
        self.uid = ""
        self._said = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._said:
                self.log.append(line.decode("utf-8", "replace").rstrip())
                self._said.notify_all()
        async with self._said:
            self.log.append("")
            self._said.notify_all()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait for a log line. AssertionError with the log if the process ends without it."""
        found = re.compile(pattern)
        at = 0
        async with asyncio.timeout(PATIENCE_S), self._said:
            while True:
                for line in self.log[at:]:
                    if match := found.search(line):
                        return match
                at = len(self.log)
                assert not self._reader.done(), "\n".join(self.log)
                await self._said.wait()

    @asynccontextmanager
    async def log_unread(self) -> AsyncIterator[None]:
        """Read none of its log within the block."""
        async with self._said:
            yield

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            await self._reader
        return code


@asynccontextmanager
async def agent_process(
    root: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    started: bool = True,
    within: Sequence[str] = (),
    accepts: bool = True,
    **options: Any,
) -> AsyncIterator[AgentProcess]:
    """An agent with its sandboxes under ``root`` that accepts TOKEN; ended after the block if it still runs.

    ``within``: a command before its own, which becomes the agent (``ip netns exec``).
    """
    command = ["--set", f"jobs.root={str(root)!r}"]
    if accepts:
        command += ["--set", f"server.accept_tokens=[{TOKEN!r}]"]
    command = [*within, sys.executable, "-m", "pagent", *command, *arguments]
    async with _process(command, env, started, options) as agent:
        yield agent


@asynccontextmanager
async def router_process(
    *arguments: str, env: Mapping[str, str] | None = None, started: bool = True, **options: Any
) -> AsyncIterator[AgentProcess]:
    """A router that agents with TOKEN dial; ended after the block if it still runs."""
    command = [sys.executable, "-m", "pagent", "route", "--set", f"server.accept_tokens=[{TOKEN!r}]", *arguments]
    async with _process(command, env, started, options) as router:
        yield router


@asynccontextmanager
async def _process(
    command: Sequence[str], env: Mapping[str, str] | None, started: bool, options: dict[str, Any]
) -> AsyncIterator[AgentProcess]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | dict(env or {}),
        **{"stdin": asyncio.subprocess.DEVNULL} | options,
    )
    agent = AgentProcess(process)
    try:
        if started:
            what = "route started" if "route" in command else "started"
            line = await agent.says(rf"pagent \S+ {what}: uid=(\S+) (.*)$")
            agent.uid = line[1]
            agent.ports = {name: int(port) for name, port in re.findall(r"(\w+)=(\d+)", line[2])}
        yield agent
    finally:
        await _finish(process)
        await agent._reader
    # The errors of callbacks of its loop, and of tasks that no code awaits.
    assert not [line for line in agent.log if " ERROR    asyncio: " in line], "\n".join(agent.log)


async def _finish(process: asyncio.subprocess.Process) -> None:
    """End it with its jobs, at once; kill it if it does not end."""
    if process.returncode is None:
        process.terminate()
        process.terminate()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
    await process.wait()
