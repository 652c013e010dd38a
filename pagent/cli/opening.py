"""Local ports that lead to a job's."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pagent.cli.ended import Ended, reason
from pagent.cli.terminal import say
from pagent.client import RemoteJob


class Opened(NamedTuple):
    """A local port. ``server`` is None where it is the job's own: the job runs on this machine and has the same."""

    local: int
    server: asyncio.Server | None
    #: What it leads to, as a message says it.
    what: str


async def open_port(
    job: RemoteJob, local: int, usual: Iterable[int], job_port: int | Callable[[], int] | None, what: str
) -> Opened:
    """Take a local port before anything is started that could be in vain; nothing is accepted on it yet.

    ``local``: the port that was asked for, 0 for the first of ``usual`` that is free, 0 among them being any.
    ``job_port``: as of :meth:`RemoteJob.forward`. Ended if it cannot be had.
    """
    for port in (local,) if local else usual:
        try:
            server = await job.forward("127.0.0.1", port, job_port=job_port, start_serving=False)
        except OSError as error:
            if not local and port:
                continue
            hint = "; choose another with -p" if error.errno == errno.EADDRINUSE else ""
            raise Ended(f"port {port} of 127.0.0.1 cannot be opened: {reason(error)}{hint}") from None
        return Opened(server.sockets[0].getsockname()[1], server, what)
    raise AssertionError("the last of the usual ports is any")


async def serve_all(opened: Sequence[Opened]) -> None:
    """Accept connections, and say where each port leads. The first port's URL comes last, and stands out."""
    for one in opened:
        if one.server is not None:
            await one.server.start_serving()
    for one in opened[:0:-1]:
        say(f"127.0.0.1:{one.local} {_leads(one)}")
    say(f"http://127.0.0.1:{opened[0].local}/ {_leads(opened[0])}; press Ctrl-C to stop", strong=True)


def close_all(opened: Sequence[Opened]) -> None:
    """Listen no more."""
    for one in opened:
        if one.server is not None:
            one.server.close()


def _leads(opened: Opened) -> str:
    return f"{'is' if opened.server is None else 'forwards to'} {opened.what}"
