"""The peers that a client can dial: an agent, or a router that an agent has dialled. Clients see no difference."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from pagent.agent import Agent
from pagent.config.model import ClientSettings, Settings
from tests.kit.agents import TOKEN, running_agent, with_token
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import connected, running_router

#: The two kinds: parameters of the fixtures that run a test with each of them.
AGENT: Final = "agent"
ROUTER: Final = "router"
KINDS: Final = (AGENT, ROUTER)

#: Decorator: with a router the test is a slow one.
slow_with_a_router: Final = pytest.mark.parametrize(
    "served", [AGENT, pytest.param(ROUTER, marks=pytest.mark.slow)], indirect=True
)

#: The same for commands, which use processes.
slow_at_a_router: Final = pytest.mark.parametrize(
    "place", [AGENT, pytest.param(ROUTER, marks=pytest.mark.slow)], indirect=True
)


@dataclass(frozen=True)
class Remote:
    """An agent in the test's loop, and the address at which a client uses it. ``uid``: of the peer that is dialled."""

    agent: Agent
    address: str
    uid: str


@asynccontextmanager
async def remote(kind: str, settings: Settings) -> AsyncIterator[Remote]:
    """Yield an agent with these settings; with ROUTER, ``address`` is that of a router that it has dialled."""
    if kind == AGENT:
        async with running_agent(settings) as agent:
            yield Remote(agent, f"127.0.0.1:{agent.rpc_port}", agent.uid)
        return
    async with running_router() as router:
        dialling = ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN)
        async with running_agent(replace(settings, client=dialling)) as agent:
            await connected(router, agent.uid)
            yield Remote(agent, f"127.0.0.1:{router.control_port}", router.uid)


# --- processes --------------------------------------------------------------------------------------


class Started:
    """``python -m pagent`` as a process whose log is read; ``ports`` are those that it has logged."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.ports: dict[str, int] = {}

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self.log.append(line.rstrip())
                self._said.notify_all()

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a log line, and return the match."""
        with self._said:
            found = self._said.wait_for(lambda: re.search(pattern, "\n".join(self.log)), PATIENCE_S)
        assert found, "\n".join(self.log)
        return found

    def end(self) -> None:
        """End it with its jobs, at once."""
        self.process.terminate()
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self._reader.join()
        if self.process.stderr is not None:
            self.process.stderr.close()


@contextmanager
def started(*arguments: str) -> Iterator[Started]:
    """Start ``pagent`` with arguments, and yield it when it listens."""
    command = [sys.executable, "-m", "pagent", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    running = Started(process)
    try:
        line = running.says(r"pagent \S+ (?:route )?started: uid=\S+ (.*)")
        running.ports = {name: int(port) for name, port in re.findall(r"(\w+)=(\d+)", line[1])}
        yield running
    finally:
        running.end()
    assert not [line for line in running.log if " ERROR    asyncio: " in line], "\n".join(running.log)


@dataclass(frozen=True)
class RemoteProcess:
    """An agent as a process, and the address at which a client uses it. ``entry`` is the process that is dialled."""

    entry: Started
    address: str
    folder: Path

    @property
    def options(self) -> list[str]:
        """The options of a command that uses it."""
        return ["--agent", self.address, *with_token(self.folder)]

    @property
    def port(self) -> int:
        """The port that is dialled."""
        return int(self.address.rpartition(":")[2])

    @property
    def jobs(self) -> list[str]:
        """The uids of the jobs that have a sandbox."""
        return [path.name for path in (self.folder / "jobs").glob("*/*") if re.fullmatch("[0-9a-f]{32}", path.name)]


@contextmanager
def remote_process(kind: str, folder: Path) -> Iterator[RemoteProcess]:
    """Start an agent with its sandboxes below ``folder``; with ROUTER, also a router that it dials."""
    jobs = folder / "jobs"
    jobs.mkdir()
    accepts = ["--set", f"server.accept_tokens=[{TOKEN!r}]"]
    with ExitStack() as stack:
        if kind == AGENT:
            agent = stack.enter_context(started("serve", "--set", f"jobs.root={str(jobs)!r}", *accepts))
            yield RemoteProcess(agent, f"127.0.0.1:{agent.ports['rpc']}", folder)
            return
        router = stack.enter_context(started("route", *accepts))
        client = {"enabled": True, "address": f"127.0.0.1:{router.ports['server']}", "token": TOKEN}
        options = ["--set", f"jobs.root={str(jobs)!r}", "--set", f"client={client!r}", "--set", "server.enabled=False"]
        stack.enter_context(started("serve", *options))
        router.says("agent .* is connected")
        yield RemoteProcess(router, f"127.0.0.1:{router.ports['control']}", folder)
