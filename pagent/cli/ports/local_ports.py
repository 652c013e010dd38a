"""Local ports that forward to the ports of a job."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pagent.cli.failure import CommandFailed, system_reason
from pagent.cli.ports.port_user import port_user
from pagent.cli.terminal.standard_streams import say
from pagent.client import RemoteJob
from pagent.runtime.descriptors import raise_limit


class LocalPort(NamedTuple):
    """A port of 127.0.0.1. ``server`` is None if the job itself listens there: it runs on this machine."""

    number: int
    server: asyncio.Server | None
    #: The target, as messages name it.
    target: str


async def reserve_port(
    job: RemoteJob, wanted: int, candidates: Iterable[int], job_port: int | Callable[[], int] | None, target: str
) -> LocalPort:
    """Bind a local port, without accepting connections on it.

    :param wanted: the port to bind; 0 for the first free one of ``candidates``, where a 0 is any free port.
    :param job_port: as for :meth:`RemoteJob.forward`.
    :raises CommandFailed: the port cannot be bound.
    """
    for port in (wanted,) if wanted else candidates:
        try:
            server = await job.forward("127.0.0.1", port, job_port=job_port, start_serving=False)
        except OSError as error:
            if not wanted and port:
                continue
            raise CommandFailed(f"cannot listen on 127.0.0.1:{port}: {_reason(error, port)}") from None
        return LocalPort(server.sockets[0].getsockname()[1], server, target)
    raise AssertionError("the last candidate is any free port")


async def accept_on_all(ports: Sequence[LocalPort], url: str | None, *, ends: str) -> None:
    """Accept connections, and print where each port forwards to. The first port is printed last, in bold.

    :param url: of the first port; None if that does not speak HTTP.
    :param ends: how the user ends the command, empty if the command says nothing about it.
    """
    raise_limit()  # a connection beyond it is accepted and closed by the event loop, as if it had ended
    for port in ports:
        if port.server is not None:
            await port.server.start_serving()
    for port in ports[:0:-1]:
        say(f"127.0.0.1:{port.number} {_leads_to(port)}")
    first = ports[0]
    say(f"{url or f'127.0.0.1:{first.number}'} {_leads_to(first)}{ends and f'; {ends}'}", strong=True)


def close_all(ports: Sequence[LocalPort]) -> None:
    """Stop listening."""
    for port in ports:
        if port.server is not None:
            port.server.close()


def _reason(error: OSError, port: int) -> str:
    reason = system_reason(error)
    return f"{reason}{port_user(port)}; choose another with -p" if error.errno == errno.EADDRINUSE else reason


def _leads_to(port: LocalPort) -> str:
    return f"{'is' if port.server is None else 'forwards to'} {port.target}"
