"""All processes of one workload: agent, job, splice, peers; started fresh for each, so that none inherits a heap."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bench.agentway import AgentWay
from bench.link import LinkDriver
from bench.peers import peer
from bench.plain import PlainWay
from bench.process import Layout, first_line, pin, running
from bench.way import Way, until

Role = Literal["accepts", "dials"]

_START_TIMEOUT_S: Final = 20.0
_ROOT: Final = Path(__file__).absolute().parent.parent


@dataclass(frozen=True)
class Rig:
    """``ways``: by name, the agent's and the reference's first; ``direct``: to the job with nothing between."""

    ways: dict[str, Way]
    direct: PlainWay
    job_pid: int


@asynccontextmanager
async def rig(layout: Layout, role: Role, peers: Sequence[str]) -> AsyncIterator[Rig]:
    """Start all, pinned; end all behind the block, however that is left."""
    async with AsyncExitStack() as stack:
        pin(os.getpid(), layout.generator)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pagent-bench-")))
        driver, agent_pid = await _agent(stack, folder, role, layout.server)
        job = await _start_job(driver)
        pin(job["pid"], layout.job)
        port = job["ports"][0]
        agent = AgentWay(driver, agent_pid, job["uid"])
        ways: dict[str, Way] = {"agent": agent}
        splice = await stack.enter_async_context(
            running([sys.executable, "-m", "bench.splice", str(port)], core=layout.server, env=_environment())
        )
        plain = {"splice": (int(await first_line(splice)), splice.pid)}
        for name in peers:
            plain[name] = await stack.enter_async_context(peer(name, port, folder, layout.server))
        for name, (number, pid) in plain.items():
            way = ways[name] = PlainWay(name, number, pid)
            stack.callback(way.close)
        direct = PlainWay("direct", port, job["pid"])
        stack.callback(direct.close)
        stack.callback(agent.close)
        yield Rig(ways, direct, job["pid"])


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(_ROOT)}


async def _agent(stack: AsyncExitStack, folder: Path, role: Role, core: int) -> tuple[LinkDriver, int]:
    token = secrets.token_hex(16)
    settings = {"jobs.root": str(folder), "control.enabled": False}
    loop = asyncio.get_running_loop()
    accepted: LinkDriver | None = None
    if role == "dials":
        accepted = driver = LinkDriver(dials=False, token=token)
        server = await loop.create_server(lambda: driver, "127.0.0.1", 0)
        stack.callback(server.close)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings |= {"server.enabled": False, "client.enabled": True, "client.token": token, "client.address": address}
    else:
        settings |= {"server.accept_tokens": [token]}
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value!r}")]
    # Without the repository in front, an installed pagent of another version could be what is measured.
    process = await stack.enter_async_context(
        running([sys.executable, "-m", "pagent", "serve", *options], core=core, env=_environment(), merge_stderr=True)
    )
    log = _Log(process)
    stack.callback(log.close)
    async with asyncio.timeout(_START_TIMEOUT_S):
        port = await log.rpc_port()
    if accepted is None:
        driver = LinkDriver(dials=True, token=token, port=port)
        await loop.create_connection(lambda: driver, "127.0.0.1", port)
    await until(driver.ready, driver.fault, _START_TIMEOUT_S)
    return driver, process.pid


class _Log:
    """Reads the agent's log: first for its port, then to keep the pipe empty. What is no INFO is shown."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._task: asyncio.Task[None] | None = None

    async def rpc_port(self) -> int:
        """Until the agent has started; 0 if it does not listen. RuntimeError with its log if it ends instead."""
        assert self._process.stdout is not None
        lines = []
        while b" started: " not in (line := await self._process.stdout.readline()):
            lines.append(line.decode(errors="replace"))
            if not line:
                raise RuntimeError("the agent ended at its start:\n" + "".join(lines))
        self._task = asyncio.get_running_loop().create_task(self._drain())
        said = dict(word.split("=") for word in line.decode().split() if "=" in word)
        return int(said.get("rpc", 0))

    async def _drain(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if b" INFO " not in line:
                sys.stderr.write(f"agent: {line.decode(errors='replace')}")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def _start_job(driver: LinkDriver) -> dict[str, Any]:
    job = await driver.call("job_create", "bench")
    await driver.call("job_start", job["uid"], [sys.executable, "-m", "bench.job"], _environment())
    info: dict[str, Any] = await driver.call("job_info", job["uid"])
    return info
