"""Start agents as processes, make their links and start their jobs."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bench.link import LinkDriver
from bench.process import Layout, pin, running
from bench.way import until

Role = Literal["accepts", "dials"]

#: The tree that this bench belongs to.
ROOT: Final = Path(__file__).absolute().parent.parent
JOB_ENVIRONMENT: Final = {"PYTHONPATH": str(ROOT)}
JOB_COMMAND: Final = (sys.executable, "-m", "bench.job")

_START_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True)
class PagentProcess:
    """A running ``pagent``; ``ports``: where it listens, by the names that its log uses."""

    pid: int
    ports: dict[str, int]


@dataclass(frozen=True)
class AgentProcess:
    """A running agent; ``port`` is 0 if it dials."""

    pid: int
    port: int
    token: str
    driver: LinkDriver | None


async def start_agent(stack: AsyncExitStack, folder: Path, role: Role, core: int, tree: Path) -> AgentProcess:
    """Start the agent of a tree, to end with the stack. One that dials has its link when this returns."""
    token = secrets.token_hex(16)
    settings: dict[str, Any] = {"jobs.root": str(folder), "control.enabled": False}
    driver: LinkDriver | None = None
    if role == "dials":
        driver = accepted = LinkDriver(dials=False, token=token)
        server = await asyncio.get_running_loop().create_server(lambda: accepted, "127.0.0.1", 0)
        stack.callback(server.close)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings |= {"server.enabled": False, "client.enabled": True, "client.token": token, "client.address": address}
    else:
        settings |= {"server.accept_tokens": [token]}
    process = await run_pagent(stack, "serve", settings, core, tree)
    if driver is not None:
        stack.callback(driver.close)
        await until(driver.ready, driver.fault, _START_TIMEOUT_S)
    return AgentProcess(process.pid, process.ports.get("rpc", 0), token, driver)


async def run_pagent(
    stack: AsyncExitStack, subcommand: str, settings: Mapping[str, Any], core: int, tree: Path
) -> PagentProcess:
    """Start ``pagent serve`` or ``pagent route`` of a tree, to end with the stack."""
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value!r}")]
    # In the tree's folder and with it in front, otherwise an installed pagent of another version could be measured.
    process = await stack.enter_async_context(
        running(
            [sys.executable, "-m", "pagent", subcommand, *options],
            core=core,
            env={"PYTHONPATH": str(tree)},
            cwd=tree,
            merge_stderr=True,
        )
    )
    log = _Log(process)
    stack.callback(log.close)
    async with asyncio.timeout(_START_TIMEOUT_S):
        return PagentProcess(process.pid, await log.ports())


async def dial(stack: AsyncExitStack, token: str, port: int) -> LinkDriver:
    """Return a link to an agent that accepts on ``port``, its own or that of a relay."""
    driver = LinkDriver(dials=True, token=token, port=port)
    stack.callback(driver.close)
    await asyncio.get_running_loop().create_connection(lambda: driver, "127.0.0.1", port)
    await until(driver.ready, driver.fault, _START_TIMEOUT_S)
    return driver


async def start_job(driver: LinkDriver, layout: Layout) -> dict[str, Any]:
    """Return the info of a job that serves."""
    job = await driver.call("job_create", "bench")
    await driver.call("job_start", job["uid"], list(JOB_COMMAND), JOB_ENVIRONMENT)
    info: dict[str, Any] = await driver.call("job_info", job["uid"])
    pin(info["pid"], layout.job)
    return info


class _Log:
    """Reads the log: first for the ports, then to keep the pipe empty. It prints warnings and errors."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._task: asyncio.Task[None] | None = None

    async def ports(self) -> dict[str, int]:
        """Wait until the process has started; return its ports by name. RuntimeError with its log if it ends."""
        assert self._process.stdout is not None
        lines = []
        while b" started: " not in (line := await self._process.stdout.readline()):
            lines.append(line.decode(errors="replace"))
            if not line:
                raise RuntimeError("pagent ended at its start:\n" + "".join(lines))
        self._task = asyncio.get_running_loop().create_task(self._drain())
        pairs = (word.split("=") for word in line.decode().split() if "=" in word)
        return {name: int(number) for name, number in pairs if number.isdecimal()}

    async def _drain(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if b" INFO " not in line and not line.startswith(b"{"):  # the audit log is JSON
                sys.stderr.write(f"pagent: {line.decode(errors='replace')}")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
