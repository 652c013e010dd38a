"""What is said while a job has not opened its port yet."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from collections.abc import Collection, Sequence
from typing import Final

from pagent.cli.ended import PATIENCE_S
from pagent.cli.publish import Plan
from pagent.cli.terminal import say
from pagent.client import RemoteJob
from pagent.errors import CallError, LinkError, MethodNotFoundError
from pagent.jobs.placeholders import MAIN, names
from pagent.limits import MIB

#: Between two looks at what the job listens on.
_LOOK_S: Final = 0.5

#: How programs in common languages read the variable PORT.
_READS_PORT: Final = re.compile(rb"(?:env\w*|ENV)\W.{0,40}?\bPORT\b|\$\{?PORT\b")
#: Files of this size at most are looked into.
_SCRIPT_MAX: Final = MIB

Addresses = Collection[tuple[str, int]]


# --- before the start -------------------------------------------------------------------------------


def hint(command: Sequence[str], plan: Plan, folder: str | None) -> str | None:
    """Return what to say of a command that can hardly know its port, None if there is nothing to say."""
    if plan.main is not None or any(MAIN in names(text) for text in command):
        return None
    local = {str(number) for number, _ in plan.opened if number}
    for text in command:
        for number in re.findall(r"\d+", text):
            if number in local:
                return f"the command has no {{port}}; if it listens on {number} itself, say -p {number}:{number}"
    if any(_reads_port(text, folder) for text in command):
        return None
    return (
        "the command has no {port}, so it has to listen on the port in the variable PORT; "
        "if it listens on a port of its own, say which: --port N"
    )


def _reads_port(text: str, folder: str | None) -> bool:
    """Return whether an argument, or the file that it names, reads the variable PORT."""
    if _READS_PORT.search(os.fsencode(text)):
        return True
    if folder is None:
        return False
    path = os.path.join(folder, text)
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _SCRIPT_MAX:
            return False
        with open(path, "rb") as file:
            return _READS_PORT.search(file.read()) is not None
    except (OSError, ValueError):
        return False


# --- until it is ready ------------------------------------------------------------------------------


class Waiting:
    """Looks at a job that is being started. ``found``: what it does instead of listening where it should, if known."""

    def __init__(self, job: RemoteJob) -> None:
        self._job = job
        self.found = ""
        self._before: set[tuple[str, int]] = set()

    async def watch(self) -> None:
        """Say what the start waits for, until cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        told = False
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                port = (await self._job.info()).get("port")
                await self._look(port)
            except (CallError, LinkError):
                return  # the start itself tells
            if not told and port is not None and loop.time() - began >= PATIENCE_S:
                told = True
                say(f"waiting for port {port}")

    async def _look(self, port: int | None) -> None:
        try:
            addresses = set(await self._job.listening())
        except MethodNotFoundError:  # an older agent
            return
        # What a program listens on for a moment only is no news.
        found = "" if port is None else elsewhere(port, addresses & self._before)
        self._before = addresses
        if found and found != self.found:
            say(found)
        self.found = found


def elsewhere(port: int, addresses: Addresses) -> str:
    """Return what to say of a job that listens on these addresses but is not reached on its port; may be nothing."""
    here = sorted(address for address, number in addresses if number == port)
    if here:
        if any(_reachable(address) for address in here):
            return ""
        return f"it listens on {here[0]} port {port}, which is not 127.0.0.1: have it listen there"
    if not addresses:
        return ""
    smallest = min(number for _, number in addresses)
    return f"it listens on {smallest}: use --port {smallest}"


def _reachable(address: str) -> bool:
    """Return whether connections to 127.0.0.1 or ::1 arrive there."""
    parsed = ipaddress.ip_address(address)
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    return bool(plain.is_unspecified) or str(plain) in ("127.0.0.1", "::1")
