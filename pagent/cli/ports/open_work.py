"""The work of ``pagent open``: a ticket of a router, or a local port that forwards to the job."""

from __future__ import annotations

from typing import Any, Final

import click

from pagent.cli.failure import CommandFailed, exit_code_of
from pagent.cli.interrupt import run_until_signalled
from pagent.cli.naming import find_job
from pagent.cli.ports.browser import open_browser, reason_for_no_browser
from pagent.cli.ports.forward_work import chosen_port, forward_until_end, running_ports
from pagent.cli.ports.protocols import may_speak_http
from pagent.cli.ports.publish import Publish
from pagent.cli.remote import remote_agent
from pagent.cli.target import Target
from pagent.cli.terminal.standard_streams import say
from pagent.client import PortalClient, RemoteJob, connect_router
from pagent.client.link import REDIAL_S
from pagent.errors import ApiError, LinkError
from pagent.net.dial import parse_address
from pagent.wire.upgrade import RPC_PATH

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409


async def open_job(target: Target, name: str, port: int | None, *, prints: bool, within_s: float | None) -> int:
    """Open a job in a browser, or print its address; return the exit code.

    :param within_s: seconds for which the address of a ticket can be opened; None for the router's default.
    """

    async def work() -> int:
        async with remote_agent(target.address, target.token, redial_s=REDIAL_S) as client:
            job = await find_job(client, name)
            ports = await running_ports(job)
            number = ports[0] if port is None else chosen_port(port, ports)
            url = await _ticket(target, job, number, {} if within_s is None else {"code_s": within_s})
            if url is not None:
                await _show(url, prints=prints)
                return 0

            async def ready(local: int, printed: str | None) -> None:
                if may_speak_http((), number):
                    await _show(printed or f"http://127.0.0.1:{local}/", prints=prints)

            return await forward_until_end(client, job, [Publish(0, number)], ready)

    return await run_until_signalled(lambda _: exit_code_of(work()))


async def _ticket(target: Target, job: RemoteJob, port: int, terms: dict[str, Any]) -> str | None:
    """Return an address of the job at a router; None if the peer is an agent, or a router without an apps listener."""
    try:
        async with connect_router(_api_of(target.address), target.token) as router:
            return await _ticket_of(router, job, port, terms)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise CommandFailed(f"the router makes no ticket: {error.detail}") from None
    except LinkError:
        pass  # an agent has no API, and answers nothing that could be an answer of one
    return None


async def _ticket_of(router: PortalClient, job: RemoteJob, port: int, terms: dict[str, Any]) -> str | None:
    try:
        ticket = await router.ticket(job.uid, ports=[port], **terms)
    except ApiError as error:
        if error.status != _CONFLICT:
            raise
        say(f"the router makes no ticket: {error.detail}; a local port is forwarded instead")
        return None
    url: str = ticket["urls"][str(port)]
    return url


def _api_of(address: str) -> str:
    """Return the URL of the API of a router, of which ``address`` is that of its links."""
    where = parse_address(address)
    prefix = where.path.removesuffix(RPC_PATH).rstrip("/")
    return f"{'https' if where.tls else 'http'}://{where.authority}{prefix}"


async def _show(url: str, *, prints: bool) -> None:
    """Open a browser, or print the address where that is not possible."""
    if prints:
        click.echo(url)
        return
    if reason := reason_for_no_browser():
        say(f"{reason}: open this address in a browser")
        click.echo(url)
    elif reason := await open_browser(url):
        say(f"no browser is opened: {reason}")
        click.echo(url)
