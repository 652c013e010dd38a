"""Whether an agent or a router can be reached: the steps of a link, one by one, up to the first that fails."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from pagent.cli.failure import message_of
from pagent.cli.setup.checks import Check, failed, ok
from pagent.client import connect_agent
from pagent.errors import CallError, LinkError, ProtocolError, TokenRefusedError
from pagent.limits import HANDSHAKE_TIMEOUT_S
from pagent.net.dial import Address, choose_proxy, parse_address
from pagent.net.resolving import resolve
from pagent.net.tls import dialling_fault
from pagent.wire.upgrade import SUBPROTOCOL, ClientUpgrade, UpgradeRefused

_TLS_ADVICE = "pagent help certificate-not-trusted has what to do; a port without TLS needs ws:// instead of wss://."
_PORT_ADVICE = (
    "Is it the port rpc of an agent, or the port control of a router? A proxy in front has to pass on the upgrade and"
    " the path /rpc/v1."
)
_SLOW = f"no answer within {HANDSHAKE_TIMEOUT_S:g} s"


async def link_checks(
    text: str, token: str | None, *, tls: ssl.SSLContext | None = None, proxy: str | None = None
) -> AsyncIterator[Check]:
    """Yield the steps of a link to an address: name, TCP, TLS, upgrade, token. The first one that fails is the last.

    :param token: None ends the steps before the token is presented. ConfigError for an invalid address or proxy.
    """
    address = parse_address(text)
    through = choose_proxy(proxy, address, os.environ)
    if through is None:
        context = (tls or ssl.create_default_context()) if address.tls else None
        async for check in _connection(address, context):
            yield check
            if check.advice:
                return
    else:
        # The proxy resolves the name, and TCP and TLS go through it.
        yield ok("proxy", f"the link goes through {through.authority}")
    if token is not None:
        yield await _handshake(text, token, tls, proxy)


async def _connection(address: Address, context: ssl.SSLContext | None) -> AsyncIterator[Check]:
    for step in (_name, _tcp):
        check = await step(address)
        yield check
        if check.advice:
            return
    if context is not None:
        check = await _tls(address, context)
        yield check
        if check.advice:
            return
    yield await _upgrade(address, context)


async def _name(address: Address) -> Check:
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            found = await resolve(address.host, address.port)
    except TimeoutError:
        return failed("name", f"{address.host}: {_SLOW}", "The name server does not answer: try the IP address.")
    except OSError as error:
        return failed("name", f"{address.host}: {error.strerror}", "Check the name, or use the IP address.")
    return ok("name", f"{address.host} is {', '.join(found)}")


async def _tcp(address: Address) -> Check:
    began = time.monotonic()
    try:
        await _opened_and_closed(address, None)
    except TimeoutError:
        return failed("TCP", f"{address.authority}: {_SLOW}", "A firewall drops the packets, or the host is off.")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        return failed(
            "TCP", f"{address.authority}: {reason}", "Does the agent or router run, and listen on this address?"
        )
    return ok("TCP", f"connected in {(time.monotonic() - began) * 1000:.1f} ms")


async def _tls(address: Address, context: ssl.SSLContext) -> Check:
    try:
        version = await _opened_and_closed(address, context)
    except TimeoutError:
        return failed("TLS", f"{address.authority}: {_SLOW}", _TLS_ADVICE)
    except OSError as error:
        return failed("TLS", dialling_fault(error), _TLS_ADVICE)
    return ok("TLS", f"{version}, the certificate is trusted")


async def _opened_and_closed(address: Address, context: ssl.SSLContext | None) -> str:
    """Open a connection, and close it; return the version of TLS. OSError."""
    async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
        _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    try:
        secured = writer.get_extra_info("ssl_object")
        return "" if secured is None else str(secured.version())
    finally:
        writer.transport.abort()


async def _upgrade(address: Address, context: ssl.SSLContext | None) -> Check:
    name = "upgrade"
    upgrade = ClientUpgrade(address.authority, address.path, subprotocols=[SUBPROTOCOL])
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
            try:
                writer.write(upgrade.request())
                rest = None
                while rest is None:
                    if not (data := await reader.read(65_536)):
                        return failed(name, "the connection was closed instead of an answer", _PORT_ADVICE)
                    rest = upgrade.feed(data)
            finally:
                writer.transport.abort()
    except TimeoutError:
        return failed(name, _SLOW, _PORT_ADVICE)
    except (UpgradeRefused, ProtocolError, OSError) as error:
        return failed(name, f"{address.path}: {error}", _PORT_ADVICE)
    if upgrade.subprotocol != SUBPROTOCOL:
        return failed(name, f"it does not speak {SUBPROTOCOL}", _PORT_ADVICE)
    return ok(name, f"a WebSocket of {SUBPROTOCOL} at {address.path}")


async def _handshake(text: str, token: str, tls: ssl.SSLContext | None, proxy: str | None) -> Check:
    """Make the link, and ask for the release of the peer."""
    try:
        async with connect_agent(text, token=token, tls=tls, proxy=proxy, redial_s=0.0) as client:
            began = time.monotonic()
            info = {}
            with suppress(CallError):  # of an earlier release
                info = await client.host_info()
            took_ms = (time.monotonic() - began) * 1000
            name = str(client.identity.get("auth", {}).get("name", ""))
    except TokenRefusedError as error:
        return failed("token", message_of(error), "pagent help token-not-accepted has what to do.")
    except LinkError as error:
        return failed("token", message_of(error), "pagent doctor on the other host may say more, and its log.")
    release = f", version {info['version']}" if "version" in info else ""
    return ok("token", f"accepted by {name!r}{release}; an answer takes {took_ms:.1f} ms")
