"""A site: routers and the agent of its login node, each a process that can be killed and started again."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.kit.agents import AgentProcess, agent_process, router_process, with_token
from tests.kit.peer import PATIENCE_S
from tests.kit.pools import HOST, START, keys_in
from tests.kit.routers import Answer, ask
from tests.kit.slurm import free_ports

#: In the environment of all processes of a site.
MARK = "PAGENT_TESTS_SITE"


async def holds(condition: Callable[[], Awaitable[bool]], patience_s: float = 60.0) -> None:
    """Wait for a condition without an event, such as the output of an engine. TimeoutError."""
    async with asyncio.timeout(patience_s):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


class Site:
    """``environ``: of the agent of the login node, and so of the commands of pools. ``count``: of routers."""

    def __init__(self, folder: Path, pools: Mapping[str, Any], environ: Mapping[str, str], count: int = 1) -> None:
        # For life.
        self._folder = folder
        self._mark = secrets.token_hex(8)
        self._environ = {**environ, MARK: self._mark}
        ports = free_ports(2 * count)
        self._servers, self.controls = ports[:count], ports[count:]
        self._keys = keys_in(folder)
        for at in range(count):
            self._configuration(at).write_text(json.dumps(self._router(at, pools)))
        self._stack = AsyncExitStack()
        # Until they are killed.
        self.routers: dict[int, AgentProcess] = {}
        self.login: AgentProcess

    @property
    def router(self) -> AgentProcess:
        """The first router."""
        return self.routers[0]

    def _configuration(self, at: int) -> Path:
        return self._folder / f"router-{at}.json"

    def _router(self, at: int, pools: Mapping[str, Any]) -> dict[str, Any]:
        common = {
            "on": {"properties": {"login": "yes"}},
            "addresses": [f"127.0.0.1:{port}" for port in self._servers],
        }
        return {
            "identity": {"uid": "site-router"},
            "server": {"port": self._servers[at]},
            "control": {"port": self.controls[at]},
            "access": {"keys_file": str(self._keys)},
            "ready_wait": 2,
            "pools": {name: {**common, **pool} for name, pool in pools.items()},
        }

    async def start_router(self, at: int = 0) -> None:
        """Start a router, also one that was killed."""
        self.routers[at] = await self._stack.enter_async_context(
            router_process("--config", str(self._configuration(at)), "--log-level", "DEBUG")
        )

    async def kill_router(self, at: int = 0) -> None:
        """Kill a router."""
        self.routers[at].signal(signal.SIGKILL)
        await self.routers[at].process.wait()

    async def start_login(self) -> None:
        """Start the agent of the login node, also one that was killed."""
        addresses = [f"127.0.0.1:{port}" for port in self._servers]
        client = (
            f"client.address={addresses!r}",
            f"client.token_file={with_token(self._folder)[1]!r}",
            "client.enabled=True",
            "client.reconnect_delay=0.2",
            "server.enabled=False",
            f"identity.uid={HOST!r}",
        )
        options = [part for each in client for part in ("--set", each)]
        root = self._folder / "login"
        root.mkdir(exist_ok=True)
        self.login = await self._stack.enter_async_context(
            agent_process(
                root,
                *(*options, "--property", "login=yes", "--log-level", "DEBUG"),
                accepts=False,
                env=self._environ,
            )
        )

    async def until_ready(self, at: int = 0) -> None:
        """Wait until a router has a link to the agent of the login node."""

        async def is_connected() -> bool:
            return any(each["uid"] == HOST for each in (await self.ask("GET", "/v1/agents", at=at)).json["agents"])

        await holds(is_connected, PATIENCE_S)

    async def close(self) -> None:
        await self._stack.aclose()

        async def are_gone() -> bool:
            return not self.processes()

        await holds(are_gone, PATIENCE_S)

    # --- requests -------------------------------------------------------------------------------------

    async def ask(self, method: str, target: str, body: Any = b"", *, at: int = 0) -> Answer:
        headers = [("Content-Type", "application/json")] if body else []
        return await ask(self.controls[at], method, target, body, headers)

    async def create(self, pool: str, start: Mapping[str, Any] | None = None, *, at: int = 0, **parameters: str) -> str:
        """Ask for a job on an agent of a pool; return its uid."""
        body = {"agent": {"pool": pool, **parameters}, "start": dict(start or START)}
        answer = await self.ask("POST", "/v1/jobs", body, at=at)
        assert answer.status == 202, answer.text
        return str(answer.json["uid"])

    async def job(self, uid: str, *, at: int = 0) -> dict[str, Any]:
        """Return a router's answer for a job; empty if there is none."""
        answer = await self.ask("GET", f"/v1/jobs/{uid}", at=at)
        return dict(answer.json) if answer.status == 200 else {}

    async def requests(self, pool: str) -> list[dict[str, Any]]:
        return list((await self.ask("GET", f"/v1/pools/{pool}")).json["requests"])

    async def request(self, pool: str, uid: str) -> dict[str, Any]:
        """Return the request of a job; empty if there is none."""
        return next((each for each in await self.requests(pool) if each["job"] == uid), {})

    async def until(self, uid: str, state: str, patience_s: float = 60.0) -> dict[str, Any]:
        """Wait until a job has a state."""
        last: dict[str, Any] = {}

        async def has_state() -> bool:
            nonlocal last
            last = await self.job(uid)
            return last.get("state") == state

        try:
            await holds(has_state, patience_s)
        except TimeoutError:
            raise AssertionError(f"job {uid} does not become {state}: {last}") from None
        return last

    async def serves(self, uid: str) -> bool:
        """Whether a job answers."""
        return (await self.ask("GET", f"/jobs/-/{uid}/http/")).status == 200

    # --- processes ------------------------------------------------------------------------------------

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Return the processes that commands of pools have started, of this name in their command if there is one."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) != self._mark or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if self._is_login(process) or name not in " ".join((process.name(), *process.cmdline())):
                    continue
                found.append(process)
        return found

    def _is_login(self, process: psutil.Process) -> bool:
        """Whether a process is the agent of the login node, or its keeper."""
        line = process.cmdline()
        return process.pid == self.login.process.pid or (
            process.ppid() == self.login.process.pid and "keeper" in " ".join(line)
        )


@asynccontextmanager
async def running_site(
    folder: Path, pools: Mapping[str, Any], environ: Mapping[str, str], count: int = 1
) -> AsyncIterator[Site]:
    made = Site(folder, pools, environ, count)
    try:
        for at in range(count):
            await made.start_router(at)
        await made.start_login()
        for at in range(count):
            await made.until_ready(at)
        yield made
    finally:
        await made.close()
