"""Advice for the user while a job does not listen on its port yet."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Collection, Sequence
from typing import Final

from pagent.cli.failure import ANNOUNCE_AFTER_S
from pagent.cli.ports.command_text import is_in_command
from pagent.cli.ports.publish import PortPlan
from pagent.cli.terminal.standard_streams import say
from pagent.client import RemoteJob
from pagent.errors import CallError, LinkError, MethodNotFoundError
from pagent.jobs.placeholders import MAIN, names

#: Between two requests for the sockets that the job listens on.
_POLL_S: Final = 0.5

#: Matches code that reads the variable PORT, in common languages.
_READS_PORT: Final = re.compile(rb"(?:env\w*|ENV)\W.{0,40}?\bPORT\b|\$\{?PORT\b")

Addresses = Collection[tuple[str, int]]


# --- before the start -------------------------------------------------------------------------------


def port_hint(command: Sequence[str], plan: PortPlan, folder: str | None) -> str | None:
    """Return advice for a command that probably does not know its port, None if it does."""
    if plan.main is not None or any(MAIN in names(text) for text in command):
        return None
    local = {str(number) for number, _ in plan.published if number}
    for text in command:
        for number in re.findall(r"\d+", text):
            if number in local:
                return f"the command has no {{port}}; if it listens on port {number}, use -p {number}:{number}"
    if is_in_command(_READS_PORT, command, folder):
        return None
    return (
        "the command has no {port}, so it has to listen on the port in the variable PORT; "
        "if it listens on a fixed port, use --port N"
    )


# --- until it is ready ------------------------------------------------------------------------------


class ReadinessWatch:
    """Watches a job that is starting. ``problem``: where the job listens instead of on its port, empty if unknown."""

    def __init__(self, job: RemoteJob) -> None:
        self._job = job
        self.problem = ""
        self._before: set[tuple[str, int]] = set()

    async def watch(self) -> None:
        """Print the step that the start waits for, until cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        announced = False
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                port = (await self._job.info()).get("port")
                await self._check(port)
            except (CallError, LinkError):
                return  # the call that starts the job reports it
            if not announced and port is not None and loop.time() - began >= ANNOUNCE_AFTER_S:
                announced = True
                say(f"waiting for port {port}")

    async def _check(self, port: int | None) -> None:
        try:
            addresses = set(await self._job.listening())
        except MethodNotFoundError:  # an older agent
            return
        # Two looks in a row have to show it: some programs listen elsewhere for a moment.
        found = "" if port is None else misplaced_listener(port, addresses & self._before)
        self._before = addresses
        if found and found != self.problem:
            say(found)
        self.problem = found


def misplaced_listener(port: int, addresses: Addresses) -> str:
    """Return advice if a job listens on these addresses and is not reachable on its port, otherwise an empty str."""
    here = sorted(address for address, number in addresses if number == port)
    if here:
        if any(_reachable(address) for address in here):
            return ""
        return f"it listens on {here[0]} port {port}; it has to listen on 127.0.0.1"
    if not addresses:
        return ""
    smallest = min(number for _, number in addresses)
    return f"it listens on port {smallest}; use --port {smallest}"


def _reachable(address: str) -> bool:
    """Return whether a socket on this address accepts connections to 127.0.0.1 or ::1."""
    parsed = ipaddress.ip_address(address)
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    return bool(plain.is_unspecified) or str(plain) in ("127.0.0.1", "::1")
