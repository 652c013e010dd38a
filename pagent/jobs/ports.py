"""A job's ports: what it reports of them, and finding out for ourselves."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final, Literal

from pagent import limits
from pagent.jobs.placeholders import MAIN

HOST: Final = "127.0.0.1"
_LOOPBACK: Final = ((socket.AF_INET, HOST), (socket.AF_INET6, "::1"))

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


def free_port(*taken: Container[int]) -> int:
    """Return a free TCP port of 127.0.0.1 that is in none of ``taken``. OSError if there is none."""
    for _ in range(_TRIES):
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if not any(port in ports for ports in taken):
            return port
    raise OSError("no free port was found")


def is_free(port: int) -> bool:
    """Is no other socket of this machine in the way of listening on the port, on either loopback address?"""
    return not any(_in_use(family, host, port) for family, host in _LOOPBACK)


def _in_use(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as probe:
            # As servers do it: connections that have ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:  # other errors: there is no IPv6, or only root may have the port
        return error.errno == errno.EADDRINUSE
    return False


def choose_ports(
    port: int | Literal["auto"] | None,
    more: Mapping[str, int | Literal["auto"]],
    *,
    prefer: int | None,
    taken: Container[int],
    own: Container[int],
) -> tuple[int | None, dict[str, int]]:
    """Return the ports that a job gets: its main one, and further ones by their names.

    'auto' is a free port that is not in ``taken``; the main one is ``prefer`` where that is free. ValueError: a port
    is one of the agent's ``own`` or is given twice; OSError: no port is free.
    """
    wanted = more if port is None else {MAIN: port, **more}
    fixed = [number for number in wanted.values() if isinstance(number, int)]
    for index, given in enumerate(fixed):
        if given in own:
            raise ValueError(f"port {given} is the agent's own")
        if given in fixed[:index]:
            raise ValueError(f"port {given} is given twice")
    chosen: dict[str, int] = {}
    for name, number in wanted.items():
        refused = (taken, own, fixed, chosen.values())
        hint = prefer if name == MAIN else None
        chosen[name] = number if isinstance(number, int) else _free_port(hint, refused)
    return chosen.pop(MAIN, None), chosen


def _free_port(hint: int | None, refused: Iterable[Container[int]]) -> int:
    """Return ``hint`` where it is free, another port otherwise."""
    if hint is not None and not any(hint in ports for ports in refused) and is_free(hint):
        return hint
    return free_port(*refused)


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
