"""Wait for a job's ports: for its reports, or until a process listens on the port that it was given."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from pagent import limits
from pagent.jobs import sockets
from pagent.runtime.silence import SilenceLimit
from pagent.runtime.threads import ThreadPool

#: Seconds between two attempts to connect to a port: the system does not report when a port begins to listen.
CONNECT_RETRY_FIRST_S: Final = 0.005
CONNECT_RETRY_MAX_S: Final = 0.25


#: The addresses on which a job's port is searched for, in this order.
LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class ReportError(ValueError):
    """A port report that is refused; the text is the reason to give."""


def parse_report(params: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """Return the decoded query of ``GET /job_started`` as (job id, port). ReportError for anything but one of each."""
    values: dict[str, str] = {}
    for name, value in params:
        if name not in ("job_id", "port"):
            raise ReportError("further parameter: only job_id and port are known")
        if name in values:
            raise ReportError(f"repeated parameter: {name}")
        values[name] = value
    for name in ("job_id", "port"):
        if name not in values:
            raise ReportError(f"missing parameter: {name}")
    return values["job_id"], _parse_port(values["port"])


def _parse_port(text: str) -> int:
    # int() takes signs, spaces, underscores and the digits of all scripts.
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ReportError("bad port: it must be a number from 1 to 65535")
    return int(text)


# --- readiness ----------------------------------------------------------------------------------------


async def until_listening(port: int, threads: ThreadPool) -> None:
    """Wait until a process listens on the port. There is no event for that: check often at first, then less often.

    The port is not connected to where the system has a table of listening sockets: a program that serves one connection
    would have served it, and others would log a client that sends nothing.
    """
    delay_s = CONNECT_RETRY_FIRST_S
    while not await _listening(port, threads):
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 1.5, CONNECT_RETRY_MAX_S)


async def _listening(port: int, threads: ThreadPool) -> bool:
    found = await threads.run(sockets.listeners, port)
    return await accepts(port) if found is None else bool(found)


async def accepts(port: int) -> bool:
    """Return whether the port accepts a connection now. The connection is closed at once; nothing is sent on it."""
    for family, host in LOOPBACK:
        if await _accepts(family, host, port):
            return True
    return False


async def _accepts(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.setblocking(False)
            async with SilenceLimit(limits.CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(probe, (host, port))
            # A socket may be given the very port it connects to and meet itself (RFC 9293, simultaneous open).
            return bool(probe.getsockname() != probe.getpeername())
    except (OSError, TimeoutError):
        return False
