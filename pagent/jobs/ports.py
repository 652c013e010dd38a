"""A job's ports: what it reports of them, and finding out for ourselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Container, Sequence
from typing import Final

from pagent import limits

HOST: Final = "127.0.0.1"

#: Further tries for a free port if the one that the system picked is spoken for.
_TRIES: Final = 16


class ReportError(ValueError):
    """A port report that is refused; the text is the reason to give."""


def parse_report(params: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """The decoded query of ``GET /job_started`` as (job uid, port). ReportError for anything but one of each."""
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


def free_port(taken: Container[int]) -> int:
    """A TCP port of 127.0.0.1 that nobody uses now and that is not in ``taken``. OSError if there is none."""
    for _ in range(_TRIES):
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port
    raise OSError("no free port was found")


async def accepts(port: int) -> bool:
    """Does the port accept a connection now? The connection is closed again, nothing is sent on it."""
    with socket.socket() as probe:
        probe.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(probe, (HOST, port))
            # A socket may be given the very port it connects to and meet itself (RFC 9293, simultaneous open).
            return bool(probe.getsockname() != probe.getpeername())
        except OSError:
            return False


async def until_accepts(port: int) -> None:
    """Until the port accepts a connection. Nothing tells of that: we look, soon at first, then less often."""
    delay_s = limits.CONNECT_RETRY_FIRST_S
    while not await accepts(port):
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 1.5, limits.CONNECT_RETRY_MAX_S)
