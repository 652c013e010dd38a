"""Dial a link: TCP, a proxy, TLS, the WebSocket handshake, and the backoff before the next attempt."""

from __future__ import annotations

import asyncio
import os
import random
import re
import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

from pagent.errors import (
    ConfigError,
    DialError,
    DialTimeoutError,
    HandshakeRefusedError,
    ProtocolError,
    TokenRefusedError,
)
from pagent.limits import HANDSHAKE_TIMEOUT_S
from pagent.net.authority import ascii_host, authority_of
from pagent.net.link.link import Link
from pagent.net.proxy import ConnectRequest, Proxy, environment_proxy, parse_proxy
from pagent.net.resolving import connect_to
from pagent.net.tls import dialling_fault
from pagent.runtime.silence import SilenceLimit
from pagent.runtime.tasks import retrieve_error
from pagent.wire.upgrade import RPC_PATH, SUBPROTOCOL, ClientUpgrade, UpgradeRefused

#: The longest wait before the first attempt to dial again, and the least value of the configured maximum.
REDIAL_FIRST_S: Final = 0.5
REDIAL_LEAST_S: Final = 0.1
#: After a link that lived for these seconds, the next attempt counts as the first again.
REDIAL_RESET_S: Final = 30.0

#: A path that a request can have (RFC 9112 section 3.2.1): visible ASCII.
VISIBLE_ASCII: Final = re.compile("[!-~]*")
#: The first bytes of a TLS record that is an alert.
_TLS_ALERT: Final = b"\x15\x03"


class Address(NamedTuple):
    """The address of a peer."""

    host: str
    port: int
    path: str = RPC_PATH
    tls: bool = False

    @property
    def authority(self) -> str:
        return authority_of(self.host, self.port)


def parse_address(text: str) -> Address:
    """Parse ``host:port``, or a URL ``ws://`` or ``wss://`` whose path defaults to ``/rpc/v1``. ConfigError."""
    fault = f"{text.rpartition('@')[2]!r} is not a valid address"  # without a password
    try:
        url = urlsplit(text if "://" in text else f"ws://{text}")
        host, port = ascii_host(url), url.port
    except UnicodeError:
        raise ConfigError(f"{fault}: invalid host name") from None
    except ValueError as error:
        raise ConfigError(f"{fault}: {error}") from None
    has_other_parts = "@" in url.netloc or url.query or url.fragment or not VISIBLE_ASCII.fullmatch(url.path)
    if url.scheme not in ("ws", "wss") or not host or has_other_parts:
        raise ConfigError(f"{fault}: write host:port, ws://host:port/path or wss://host:port/path")
    if port == 0:
        raise ConfigError(f"{fault}: the port must be from 1 to 65535")
    if port is None and "://" not in text:
        raise ConfigError(f"{fault}: port missing")
    tls = url.scheme == "wss"
    path = url.path if url.path not in ("", "/") else RPC_PATH
    return Address(host, port or (443 if tls else 80), path, tls)


def choose_proxy(configured: str | None, address: Address, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an address: the configured one, otherwise that of the environment for TLS. ConfigError."""
    if configured is not None:
        return parse_proxy(configured)
    return environment_proxy(environ, address.host, address.port) if address.tls else None


def _refusal(authority: str, error: UpgradeRefused | ProtocolError) -> HandshakeRefusedError:
    if isinstance(error, UpgradeRefused) and error.status in (401, 403):
        return TokenRefusedError(f"{authority} refuses clients without a valid token: {error}")
    return HandshakeRefusedError(f"{authority} is no RPC port: {error}")


class _Upgrading(asyncio.Protocol):
    """The connection until the answer to the upgrade is complete."""

    def __init__(self, upgrade: ClientUpgrade, authority: str) -> None:
        self._upgrade = upgrade
        self._authority = authority
        self._transport: asyncio.Transport | None = None
        self._answered = False
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(retrieve_error)  # TLS may fail before it is awaited

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._upgrade.request())

    def data_received(self, data: bytes) -> None:
        if not self._answered and data.startswith(_TLS_ALERT):
            self._fail(DialError(f"{self._authority}: the peer answers in TLS; does the peer expect TLS? (wss://)"))
            return
        self._answered = True
        try:
            rest = self._upgrade.feed(data)
        except (UpgradeRefused, ProtocolError) as error:
            self._fail(_refusal(self._authority, error))
            return
        if rest is not None and not self.done.done():
            assert self._transport is not None
            self._transport.pause_reading()  # nothing may be lost between the two protocols
            self.done.set_result(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError):  # after our side of the handshake: the peer refuses our certificate
            self._fail(DialError(f"{self._authority}: {dialling_fault(exc)}"))
            return
        if self._transport is not None and self._transport.get_extra_info("sslcontext") is not None:
            # In TLS 1.3 our side has finished before the peer has seen that there is no certificate.
            hint = "does the peer ask for a certificate? (client.tls.certificate)"
        else:
            hint = "does the peer expect TLS? (wss://)"
        reason = "the connection was closed during the WebSocket handshake"
        self._fail(DialError(f"{self._authority}: {reason}; {hint}"))

    def _fail(self, error: DialError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _Tunnelling(asyncio.Protocol):
    """The connection to a proxy until it has opened the tunnel."""

    def __init__(self, connect: ConnectRequest) -> None:
        self._connect = connect
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._connect.request())

    def data_received(self, data: bytes) -> None:
        if self.done.done():
            return
        assert self._transport is not None
        try:
            if self._connect.feed(data):
                self._transport.pause_reading()  # nothing may be lost between the two protocols
                self.done.set_result(self._transport)
        except DialError as error:
            self.done.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(self._connect.error("closed the connection before it answered"))


class Dialling(Protocol):
    """A new connection in the dialling role (``pagent.rpc.connection.Connection``)."""

    link: Link

    def start(self) -> None:
        """Begin the handshake: the transport is connected."""


async def dial(
    address: Address,
    connection: Dialling,
    *,
    tls: ssl.SSLContext | None = None,
    host: str | None = None,
    proxy: Proxy | None = None,
) -> None:
    """Connect to an accepting peer; return once the WebSocket is open and the connection started.

    :param host: an IP address to connect to, if the name in ``address`` has been resolved already.
    :param proxy: resolves the name and connects instead.

    :raises DialError: no peer listens there, or it does not answer in time;
        HandshakeRefusedError: the address has no RPC route.
    """
    upgrade = ClientUpgrade(address.authority, address.path, subprotocols=[SUBPROTOCOL])
    protocol = _Upgrading(upgrade, address.authority)
    context = (tls or ssl.create_default_context()) if address.tls else None
    transport: asyncio.Transport | None = None
    try:
        async with SilenceLimit(HANDSHAKE_TIMEOUT_S):
            if proxy is None:
                transport = await _connected(address, protocol, context, host)
            else:
                transport = await _tunnel(address, proxy)
                transport = await _through(transport, protocol, context, address.host)
            rest = await protocol.done
    except BaseException as error:
        if transport is not None:
            transport.abort()
        if isinstance(error, TimeoutError):
            raise DialTimeoutError(f"{address.authority}: no answer within {HANDSHAKE_TIMEOUT_S:.0f} s") from None
        if isinstance(error, OSError):
            raise DialError(f"{address.authority}: {_reason(error, tls=address.tls)}") from error
        raise
    if upgrade.subprotocol != SUBPROTOCOL:
        transport.abort()
        raise HandshakeRefusedError(f"{address.authority} does not speak {SUBPROTOCOL}")
    link = connection.link
    transport.set_protocol(link)
    link.connection_made(transport)
    connection.start()
    if rest:
        link.data_received(rest)
    transport.resume_reading()


async def _connected(
    address: Address, protocol: asyncio.Protocol, context: ssl.SSLContext | None, host: str | None
) -> asyncio.Transport:
    name = address.host if context is not None else None
    return (await connect_to(host or address.host, address.port, lambda: protocol, tls=context, server_name=name))[0]


async def _tunnel(address: Address, proxy: Proxy) -> asyncio.Transport:
    """Let a proxy connect to an address; return the transport, paused. DialError."""
    connect = ConnectRequest(proxy, address.authority)
    try:
        transport, protocol = await connect_to(proxy.host, proxy.port, lambda: _Tunnelling(connect))
    except OSError as error:
        raise connect.error(f"cannot be reached: {_reason(error, tls=False)}") from None
    try:
        return await protocol.done
    except BaseException:
        transport.abort()
        raise


async def _through(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext | None, host: str
) -> asyncio.Transport:
    """Give a tunnel its protocol, below TLS with a context."""
    if context is not None:
        try:
            secured = await asyncio.get_running_loop().start_tls(transport, protocol, context, server_hostname=host)
        except BaseException:
            transport.abort()
            raise
        assert secured is not None
        transport = secured
    else:
        transport.set_protocol(protocol)
    protocol.connection_made(transport)
    transport.resume_reading()
    return transport


def _reason(error: OSError, *, tls: bool) -> str:
    """Return the text of the system; asyncio's own loop has other texts for a connection that was not made."""
    if tls and isinstance(error, (ssl.SSLError, ConnectionResetError, ConnectionAbortedError)):
        return dialling_fault(error)
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    return error.strerror or str(error)


class Backoff:
    """The wait before dialling again: short at first, doubled up to ``longest`` seconds, with jitter.

    It is reset after a link that lived for half a minute; docs/contract.rst, "Loss".
    """

    _FACTOR: Final = 2.0

    def __init__(self, longest: float) -> None:
        self._longest = max(longest, REDIAL_LEAST_S)
        self._next = REDIAL_FIRST_S

    def delay(self, lived: float) -> float:
        """Return the seconds to wait. ``lived``: the seconds that the last link lived, 0 without a link."""
        if lived >= REDIAL_RESET_S:
            self._next = REDIAL_FIRST_S
        ceiling = min(self._next, self._longest)
        self._next = min(self._next * self._FACTOR, max(self._longest, REDIAL_FIRST_S))
        return random.uniform(ceiling / 2, ceiling)
