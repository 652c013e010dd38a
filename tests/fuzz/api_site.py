"""A closed router with an agent, for programs that try its API: ``make fuzz-api``.

``python -m tests.fuzz.api_site COMMAND ARGUMENT…`` runs a command, in which ``{url}`` and ``{token}`` stand for the
address of the API and a token with all scopes.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
from pathlib import Path

from pagent.config.model import ClientSettings, ControlSettings, IdentitySettings, JobSettings, ServerSettings, Settings
from pagent.config.router import Access, AccessToken
from tests.kit.agents import TOKEN, running_agent
from tests.kit.routers import connected, router_settings, running_router

_SECRET = "a-token-of-the-api"
_SCOPES = ("read!any", "jobs!any", "proxy!any", "files!any", "logs!any", "exec!any", "admin")


async def run(command: list[str], folder: Path) -> int:
    """Return the exit code of the command."""
    token = AccessToken("tester", hashlib.sha256(_SECRET.encode()).hexdigest(), _SCOPES)
    async with running_router(router_settings(access=Access(tokens=(token,)))) as router:
        settings = Settings(
            identity=IdentitySettings(uid="A"),
            server=ServerSettings(enabled=False),
            control=ControlSettings(enabled=False),
            client=ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN),
            jobs=JobSettings(root=folder),
        )
        async with running_agent(settings) as agent:
            await connected(router, agent.uid)
            url = f"http://127.0.0.1:{router.control_port}/v1"
            filled = [word.replace("{url}", url).replace("{token}", _SECRET) for word in command]
            process = await asyncio.create_subprocess_exec(*filled)
            return await process.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        sys.exit(asyncio.run(run(sys.argv[1:], Path(root))))
