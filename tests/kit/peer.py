"""A peer written from the protocol page alone: the ``websockets`` library, msgpack, and nothing of the package.

It sends and receives whole pRpc messages as lists, so that a test can say anything, also what makes no sense.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.protocol import State
from websockets.typing import Subprotocol

SUBPROTOCOL = Subprotocol("v1.prpc.datadvance")
UNARY, ISTREAM, OSTREAM, BISTREAM = 20, 30, 40, 50

#: An answer takes milliseconds; a test that waits longer than this has failed.
PATIENCE_S = 30.0


class CallFailed(Exception):
    """A RESULT with an error: ``status``, and ``cause``, the class name of the error that the method raised."""

    def __init__(self, status: int, message: str, cause: str | None, cause_message: str | None) -> None:
        super().__init__(f"{status} {cause}: {cause_message or message}")
        self.status = status
        self.message = message
        self.cause = cause
        self.cause_message = cause_message


class Peer:
    """One end of a link. Messages of a call wait in its queue until they are asked for."""

    def __init__(self, socket: ClientConnection | ServerConnection) -> None:
        self.socket = socket
        self.hello: list[Any] = []
        self.link_id = ""
        self._last_id = 0
        self._messages: dict[int, asyncio.Queue[list[Any] | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    # --- messages -----------------------------------------------------------------------------------

    async def send(self, message: list[Any]) -> None:
        await self.socket.send(msgpack.packb(message, use_bin_type=True))

    async def receive(self) -> list[Any]:
        """The next message of the link; only before :meth:`read` or without it."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self.socket.recv()
        assert isinstance(data, bytes)
        message: list[Any] = msgpack.unpackb(data, strict_map_key=False)
        return message

    def read(self) -> None:
        """Sort messages by their calls from now on."""
        self._reader = asyncio.create_task(self._sort())

    async def _sort(self) -> None:
        try:
            async for data in self.socket:
                assert isinstance(data, bytes)
                message = msgpack.unpackb(data, strict_map_key=False)
                self._messages.setdefault(message[1], asyncio.Queue()).put_nowait(message)
        except websockets.ConnectionClosed:
            pass
        for messages in self._messages.values():
            messages.put_nowait(None)

    async def close(self) -> None:
        await self.socket.close()
        if self._reader is not None:
            await self._reader

    # --- calls --------------------------------------------------------------------------------------

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def start(self, call_type: int, method: str, *args: Any, **kwargs: Any) -> int:
        """CALL_START; returns the call's id."""
        call_id = self.next_id()
        self._messages[call_id] = asyncio.Queue()
        await self.send([2, call_id, call_type, method, list(args), kwargs])
        return call_id

    async def data(self, call_id: int, value: Any) -> None:
        """REQUEST_STREAM_MESSAGE."""
        await self.send([4, call_id, value])

    async def end(self, call_id: int) -> None:
        """REQUEST_STREAM_CLOSE."""
        await self.send([5, call_id])

    async def cancel(self, call_id: int) -> None:
        """REQUEST_CALL_CANCEL."""
        await self.send([3, call_id])

    def expect(self, call_id: int) -> None:
        """Keep the messages of a call that was not made by :meth:`start`."""
        self._messages[call_id] = asyncio.Queue()

    def has_message(self, call_id: int) -> bool:
        """Whether a message of the call has arrived and was not taken."""
        return not self._messages[call_id].empty()

    async def next_of(self, call_id: int) -> list[Any]:
        """The next message of a call. ConnectionError if the link is closed."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self._messages.setdefault(call_id, asyncio.Queue()).get()
        if message is None:
            raise ConnectionError(f"the link is closed: {self.socket.close_code} {self.socket.close_reason}")
        return message

    async def outcome(self, call_id: int) -> tuple[list[Any], Any]:
        """Stream messages of a call up to its result, and the result's value; CallFailed if that is an error."""
        values: list[Any] = []
        while True:
            message = await self.next_of(call_id)
            if message[0] == 8:
                values.append(message[2])
            elif message[0] == 7:
                return values, self.value(message)

    @staticmethod
    def value(message: list[Any]) -> Any:
        """Return the value of a RESULT."""
        assert message[0] == 7
        assert len(message) == 5
        if message[4] is not None:
            raise CallFailed(message[3], *message[4][:3])
        return msgpack.unpackb(message[2], strict_map_key=False)

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """A unary call."""
        call_id = await self.start(UNARY, method, *args, **kwargs)
        values, result = await self.outcome(call_id)
        assert values == []
        return result

    async def http(
        self,
        job: str,
        method: str = "GET",
        path: str = "/",
        query: Iterable[Iterable[str]] = (),
        headers: Iterable[Iterable[str]] = (),
        body: Iterable[bytes] = (),
        **options: Any,
    ) -> tuple[int, list[list[str]], list[Any]]:
        """``http_request`` as a router of the field makes it: status, headers, body. CallFailed if it broke."""
        fields = [list(pair) for pair in headers]
        call_id = await self.start(
            BISTREAM, "http_request", job, method, path, [list(p) for p in query], fields, **options
        )
        for piece in body:
            await self.data(call_id, piece)
        await self.data(call_id, b"")
        values, result = await self.outcome(call_id)
        assert result is None
        return values[0], values[1], values[2:]


def user_data(uid: str = "router", name: str = "a router", token: str | None = None, **more: Any) -> dict[str, Any]:
    """Handshake data of a peer."""
    auth = {"uid": uid, "name": name} | ({} if token is None else {"token": token})
    return {"auth": auth, **more}


class _Dialled(ClientConnection):
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """It would abort a transport that has ended, which asyncio's own loop can trip over."""
        if self.state is not State.CLOSED:
            await super().close(code, reason)


@asynccontextmanager
async def dial(
    port: int,
    token: str,
    *,
    host: str = "127.0.0.1",
    extensions: list[str] | None = None,
    uid: str = "router",
    instance: str | None = None,
    replaces: str | None = None,
    ping_interval: float | None = 20.0,
) -> AsyncIterator[Peer]:
    """A peer that has dialled an agent and shaken hands with it, reading."""
    named = {"extensions": extensions, "instance": instance, "replaces": replaces}
    more: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
    async with connect(
        f"ws://{host}:{port}/rpc/v1",
        subprotocols=[SUBPROTOCOL],
        compression=None,
        max_size=None,
        ping_interval=ping_interval,
        create_connection=_Dialled,
    ) as socket:
        peer = Peer(socket)
        await peer.send([1, peer.next_id(), [1, None, user_data(uid, token=token, **more)]])
        peer.hello = await peer.receive()
        assert peer.hello[0] == 6, peer.hello
        peer.link_id = peer.hello[2][1]
        peer.read()
        yield peer
        await peer.close()


class Listener:
    """A peer that listens for agents: each that has shaken hands comes out of :meth:`accepted`.

    ``more``: further user data of its handshakes.
    """

    def __init__(self, uid: str = "router", **more: Any) -> None:
        self.port = 0
        self.more = more
        #: Whether handshakes are refused.
        self.refuses = False
        self._uid = uid
        self._accepted: asyncio.Queue[Peer] = asyncio.Queue()

    async def accepted(self) -> Peer:
        """The next agent that has dialled in, reading."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._accepted.get()

    async def serve_one(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        peer.hello = await peer.receive()
        assert peer.hello[0] == 1, peer.hello
        if self.refuses:
            await socket.close(1008, "handshake refused")
            return
        peer.link_id = f"connection-{id(peer)}"
        await peer.send([6, peer.hello[1], [1, peer.link_id, user_data(self._uid, **self.more)], 0, None])
        peer.read()
        self._accepted.put_nowait(peer)
        await socket.wait_closed()


@asynccontextmanager
async def listen(
    uid: str = "router", *, host: str = "127.0.0.1", port: int = 0, **more: Any
) -> AsyncIterator[Listener]:
    """A peer that agents dial (client mode). ``more``: further user data of its handshakes."""
    listener = Listener(uid, **more)
    async with serve(
        listener.serve_one, host, port, subprotocols=[SUBPROTOCOL], compression=None, max_size=None
    ) as server:
        listener.port = next(iter(server.sockets)).getsockname()[1]
        yield listener
