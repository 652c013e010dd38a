"""Connect to a peer: the link is an async context manager. A link that is lost is dialled again."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from pagent.errors import (
    CallTimeoutError,
    DialError,
    HandshakeRefusedError,
    LinkClosedError,
    ServerError,
    TokenRefusedError,
)
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.net.dial import Address, Backoff, choose_proxy, dial, parse_address
from pagent.net.link.link import Link
from pagent.net.proxy import Proxy
from pagent.rpc.aio import StreamCall
from pagent.rpc.calls import OutgoingCall
from pagent.rpc.connection import GOES_AWAY, Connection
from pagent.rpc.methods import methods_of
from pagent.runtime.silence import SilenceLimit
from pagent.runtime.tasks import TaskOwner
from pagent.wire import identity
from pagent.wire.closing import POLICY_VIOLATION, PROTOCOL_ERROR

_log = logging.getLogger(__name__)

#: Close codes of a refused handshake (docs/protocol.rst, "Close codes").
_REFUSALS: Final = (PROTOCOL_ERROR, POLICY_VIOLATION)
#: The longest pause between two attempts to dial again.
_REDIAL_PAUSE_S: Final = 5.0
#: How long a lost link is dialled again unless the caller sets another time: a router restarts within seconds.
REDIAL_S: Final = 60.0


class ClientLink:
    """A link to a peer, which is dialled again when it is lost, with the same uid and ``instance``.

    Calls under way end with LinkClosedError when the link is lost. A later unary call waits for the next link. A call
    with a stream raises LinkClosedError while there is none.

    :param connect: makes the connection of the next link; its argument is the id of the link that was lost.
    :param redial_s: seconds for which a lost link is dialled again; 0 for no redial.
    """

    def __init__(
        self,
        address: Address,
        connect: Callable[[str | None], Connection],
        *,
        tls: ssl.SSLContext | None,
        proxy: Proxy | None,
        redial_s: float,
    ) -> None:
        # For life.
        self._address = address
        self._connect = connect
        self._tls = tls
        self._proxy = proxy
        self._redial_s = redial_s
        self._tasks = TaskOwner("client link")
        # From one link to the next.
        self._connection = connect(None)
        self._backoff = Backoff(_REDIAL_PAUSE_S)
        self._changed = asyncio.Event()  # set once there is another link, or none will come
        self._gone: LinkClosedError | None = None  # why no link will come

    # --- the peer ---------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The connection of the link; another one after each redial."""
        return self._connection

    @property
    def uid(self) -> str:
        """The id of the link."""
        return self._connection.uid

    @property
    def peer(self) -> identity.Peer | None:
        """The description that the peer has sent of itself."""
        return self._connection.peer

    @property
    def flow(self) -> bool:
        """Whether the extension ``flow`` is in force."""
        return self._connection.flow

    @property
    def lines(self) -> bool:
        """Whether the agent takes and sends heads in lines (docs/protocol.rst, "``lines``: heads as field lines")."""
        return self._connection.lines

    @property
    def holes(self) -> bool:
        """Whether the extension ``holes`` is in force."""
        return self._connection.holes

    @property
    def is_open(self) -> bool:
        """Whether there is a link now."""
        return self._connection.is_open

    @property
    def is_over(self) -> bool:
        """Whether no link will come any more."""
        return self._gone is not None

    @property
    def link(self) -> Link:
        """The WebSocket of the link."""
        return self._connection.link

    @property
    def outgoing(self) -> Mapping[int, OutgoingCall]:
        """Calls under way on the link there is now, by their ids."""
        return self._connection.outgoing

    @property
    def tasks(self) -> TaskOwner:
        """The owner of tasks that end with the link."""
        return self._connection.tasks

    # --- calls ------------------------------------------------------------------------------------

    async def call(
        self, method: str, /, *args: Any, timeout: float | None = DEFAULT_CALL_TIMEOUT_S, **kwargs: Any
    ) -> Any:
        """Make a unary call and return its result: :meth:`Connection.call`. Wait for the next link if there is none.

        A call that a link refuses before it has begun is made once more, on the next link.
        """
        connection = await self._opened(method, timeout)
        try:
            return await connection.call(method, *args, timeout=timeout, **kwargs)
        except ServerError as refused:
            if str(refused) != GOES_AWAY or not self._redial_s:
                raise
            await self._lost(connection, method, timeout)
        connection = await self._opened(method, timeout)
        return await connection.call(method, *args, timeout=timeout, **kwargs)

    def open_stream(self, call_type: int, method: str, /, *args: Any, **kwargs: Any) -> StreamCall:
        """Begin a call with a stream, and return its async face. LinkClosedError if there is no link."""
        return self._connection.open_stream(call_type, method, *args, **kwargs)

    def start_call(self, call_type: int, method: str, args: Any, kwargs: Any) -> OutgoingCall:
        """Begin a call of any type, and return its push face. LinkClosedError if there is no link."""
        return self._connection.start_call(call_type, method, args, kwargs)

    async def _opened(self, method: str, timeout: float | None) -> Connection:
        """Return the connection of a link that is open. CallTimeoutError; LinkClosedError if none will come."""
        async with _in_time(method, timeout):
            while not self._connection.is_open:
                if self._gone is not None:
                    raise LinkClosedError(self._gone.code, self._gone.reason)
                await self._changed.wait()
        return self._connection

    @staticmethod
    async def _lost(connection: Connection, method: str, timeout: float | None) -> None:
        """Wait until the link of a peer that goes away is lost. CallTimeoutError."""
        async with _in_time(method, timeout):
            await asyncio.shield(connection.link.closed)

    # --- life -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the first link. DialError, HandshakeRefusedError."""
        await self._open(self._connection)
        self._tasks.start(self._keep(), name="dial again")

    async def _open(self, connection: Connection) -> None:
        name = self._address.authority
        await dial(self._address, connection, tls=self._tls, proxy=self._proxy)
        try:
            await connection.ready
        except LinkClosedError as error:
            await connection.close()
            if error.code in _REFUSALS:
                raise _refusal(name, error) from None
            raise DialError(f"{name}: {error}") from None
        except asyncio.CancelledError:
            await connection.close()
            raise

    async def _keep(self) -> None:
        """Dial again after each lost link, until a dial fails for ``redial_s``."""
        while True:
            began = time.monotonic()
            reason = await asyncio.shield(self._connection.link.closed)
            if not await self._redial(time.monotonic() - began):
                self._end(reason)
                return

    async def _redial(self, lived_s: float) -> bool:
        """Make the next link; return False if none is made in time, or the peer refuses it."""
        try:
            async with SilenceLimit(self._redial_s):
                while True:
                    await asyncio.sleep(self._backoff.delay(lived_s))
                    lived_s = 0.0
                    connection = self._connect(self._connection.uid)
                    try:
                        await self._open(connection)
                    except HandshakeRefusedError as error:
                        _log.warning("the link is not made again: %s", error)
                        return False
                    except DialError as error:
                        _log.info("the link is not made yet: %s", error)
                    else:
                        self._connection = connection
                        self._notify()
                        return True
        except TimeoutError:
            return False

    def _end(self, reason: LinkClosedError) -> None:
        self._gone = reason
        self._notify()

    def _notify(self) -> None:
        """Wake the calls that wait for a link."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End all calls, close the link, and dial no more."""
        await self._tasks.close()
        self._end(LinkClosedError(code, reason))
        await self._connection.close(code, reason)


def _refusal(name: str, error: LinkClosedError) -> HandshakeRefusedError:
    # An agent refuses a token with the code of a protocol error, as the original one does.
    is_token = error.code == POLICY_VIOLATION or "the token is not accepted" in error.reason
    return (TokenRefusedError if is_token else HandshakeRefusedError)(f"{name}: {error.reason or error}")


@asynccontextmanager
async def _in_time(method: str, timeout: float | None) -> AsyncIterator[None]:
    """Raise CallTimeoutError if the block takes longer."""
    try:
        async with SilenceLimit(timeout):
            yield
    except TimeoutError:
        raise CallTimeoutError(f"no link for {method} within {timeout} s") from None


@asynccontextmanager
async def connect(
    address: str,
    *,
    token: str,
    uid: str | None = None,
    name: str = "client",
    service: object | None = None,
    tls: ssl.SSLContext | None = None,
    proxy: str | None = None,
    extensions: tuple[str, ...] = identity.EXTENSIONS,
    redial_s: float = REDIAL_S,
) -> AsyncIterator[ClientLink]:
    """Connect to an agent that listens, to a router, or to any other accepting peer.

    The link is closed with 1000 after the block. If it is lost before, it is dialled again: :class:`ClientLink`.

    :param address: ``host:port``, ``ws://host:port/path`` or ``wss://...``.
    :param proxy: an HTTP proxy, ``http://[user:password@]host:port``; None: that of HTTPS_PROXY for a ``wss://``
        address that NO_PROXY does not list.
    :param service: an object whose decorated methods the peer may call.
    :param redial_s: seconds for which a lost link is dialled again; 0 for no redial.
    :raises ConfigError: ``address`` or ``proxy`` is invalid.
    :raises DialError: the peer cannot be reached.
    :raises HandshakeRefusedError: the peer does not accept the token.
    """
    methods = methods_of(service) if service is not None else {}
    data = identity.user_data(uid or uuid.uuid4().hex, name, token=token)
    instance = uuid.uuid4().hex

    def connection(lost: str | None) -> Connection:
        return Connection(
            dialled=True, user_data=data, methods=methods, extensions=extensions, instance=instance, replaces=lost
        )

    where = parse_address(address)
    through = choose_proxy(proxy, where, os.environ)
    link = ClientLink(where, connection, tls=tls, proxy=through, redial_s=redial_s)
    await link.open()
    try:
        yield link
    finally:
        await link.close()
