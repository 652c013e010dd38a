"""The work of ``pagent route``: a router, alone or with an agent in the same process."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from pagent.agent import Agent
from pagent.cli.servers.dashboard import print_dashboard
from pagent.cli.terminal.standard_streams import say
from pagent.config.model import ControlSettings, IdentitySettings, JobSettings, ServerSettings, Settings
from pagent.config.router import RouterSettings
from pagent.errors import CALL_ERRORS
from pagent.limits import HANDSHAKE_TIMEOUT_S
from pagent.net.dial import Address
from pagent.relay.agent import ConnectedAgent
from pagent.router import Router
from pagent.runtime.signals import end_signals


async def run_router(
    settings: RouterSettings,
    *,
    connection_debug: bool = False,
    reread: Callable[[], RouterSettings] | None = None,
    with_agent: bool = False,
    command: Sequence[str] = (),
) -> int:
    """Run a router until a signal or ``POST /shutdown``; return the exit code.

    The first SIGTERM or SIGINT is a graceful end; the second ends requests, and the jobs of an agent in this process,
    at once. SIGHUP makes the router take over the settings that ``reread`` returns; without ``reread`` it ends it.
    With an agent, ``command`` is its first job.
    """
    router = Router(settings, connection_debug=connection_debug)
    reload = None if reread is None else partial(router.reload, reread)
    with end_signals(partial(router.end, 0), hangup=reload):
        async with AsyncExitStack() as stack:
            if with_agent:
                agent = await stack.enter_async_context(_embedded_agent(router))
            stack.push_async_callback(router.stop)  # before the agent, whose link it would dial again
            await router.start()
            print_dashboard(router, settings.dashboard)
            if with_agent:
                await _join(router, *agent, command)
            return await router.wait()


@asynccontextmanager
async def _embedded_agent(router: Router) -> AsyncIterator[tuple[Agent, str]]:
    """Yield an agent in this process, which the router dials, and the token that it accepts; it ends with the block.

    Its uid is that of the router, followed by ``-agent``.
    """
    secret = secrets.token_hex(16)
    agent = Agent(
        Settings(
            identity=IdentitySettings(uid=f"{router.uid}-agent"),
            server=ServerSettings(accept_tokens=(secret,)),
            control=ControlSettings(enabled=False),
            jobs=JobSettings(allow_folders=(os.getcwd(),)),
        )
    )
    router.when_forced(partial(agent.end, 0))
    try:
        await agent.start()
        router.keep_link(Address("127.0.0.1", agent.rpc_port), lambda: secret)
        yield agent, secret
    finally:
        agent.end(0)
        await agent.stop()


async def _join(router: Router, agent: Agent, secret: str, command: Sequence[str]) -> None:
    """Wait for the link to an agent; start a command in the current folder as a job, and print its address.

    If the command cannot be started, the router ends with exit code 1.
    """
    link = await router.link_to(agent.uid, Address("127.0.0.1", agent.rpc_port), secret, HANDSHAKE_TIMEOUT_S)
    if command:
        try:
            uid = await _run_job(router, link, list(command))
        except CALL_ERRORS as error:
            say(f"the command is not started: {error}")
            router.end(1)
            return
        path = f"/jobs/{link.connection_id}/{uid}/http/"
        address = router.address_of(uid) or f"http://127.0.0.1:{router.control_port}{path}"
        say(f"{address} forwards to the job; press Ctrl-C to stop")


async def _run_job(router: Router, agent: ConnectedAgent, command: list[str]) -> str:
    """Start a command in the current folder as a job, and wait until it listens; return the job's uid."""
    uid: str = (await router.directory.create(agent, command[0]))["uid"]
    with router.directory.starting(uid):
        await agent.call("job_start", uid, command, {}, os.getcwd(), port="auto", ready="connect")
    return uid
