"""An echo end point for WebSocket conformance suites, on the package's own frames and handshake.

Server, for a fuzzing client: ``python -m tests.kit.ws_echo server PORT``. Client, for a fuzzing server as Autobahn's:
``python -m tests.kit.ws_echo client HOST PORT [AGENT]`` runs all its cases and then has it write its report.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from wsproto import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.handshake import H11Handshake

from pagent.errors import ProtocolError
from pagent.wire import frames
from pagent.wire.upgrade import ClientUpgrade

_MESSAGE_MAX = 64 * 1024 * 1024
_LINGER_S = 2.0


class Echo:
    """One open connection: what comes is sent back, by the rules of RFC 6455."""

    def __init__(self, writer: asyncio.StreamWriter, *, client: bool) -> None:
        self._writer = writer
        self._client = client
        self._decoder = frames.FrameDecoder(masked=not client, max_message=_MESSAGE_MAX)
        self.messages: list[str | bytes] = []
        self.over = False

    async def run(self, reader: asyncio.StreamReader, data: bytes = b"") -> None:
        """Until the connection is closed; ``data`` has been read already."""
        while not self.over:
            self.received(data)
            await self._writer.drain()
            if not self.over and not (data := await reader.read(65_536)):
                return
        # Closed with bytes unread the socket would be reset, and that can overtake the close frame.
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while await reader.read(65_536):
                    pass

    def received(self, data: bytes) -> None:
        try:
            for opcode, payload in self._decoder.feed(data):
                self._message(opcode, payload)
            self._decoder.check()
        except ProtocolError as error:
            self._send(frames.CLOSE, frames.close_payload(error.code, str(error)))
            self.over = True

    def _message(self, opcode: int, payload: object) -> None:
        if self.over:
            return
        if isinstance(payload, tuple):
            self._send(frames.CLOSE, frames.close_payload(*payload))
            self.over = True
        elif isinstance(payload, str):
            self.messages.append(payload)
            self._send(opcode, payload.encode())
        elif isinstance(payload, (bytes, bytearray)) and opcode != frames.PONG:
            if opcode == frames.BINARY:
                self.messages.append(bytes(payload))
            self._send(frames.PONG if opcode == frames.PING else opcode, payload)

    def _send(self, opcode: int, payload: bytes | bytearray) -> None:
        if self._client:
            self._writer.write(frames.masked_frame(opcode, payload))
        else:
            self._writer.writelines((frames.frame_header(opcode, len(payload)), payload))


async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's end of one connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        handshake = H11Handshake(ConnectionType.SERVER)
        handshake.receive_data(head)
        next(handshake.events())
        writer.write(handshake.send(AcceptConnection()))
        await Echo(writer, client=False).run(reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def ask(host: str, port: int, target: str) -> list[str | bytes]:
    """The client's end of one connection; returns the messages that came."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        upgrade = ClientUpgrade(f"{host}:{port}", target)
        writer.write(upgrade.request())
        rest = None
        while rest is None:
            if not (data := await reader.read(65_536)):
                raise ConnectionError("closed during the handshake")
            rest = upgrade.feed(data)
        echo = Echo(writer, client=True)
        with contextlib.suppress(ConnectionError):  # a case may end so
            await echo.run(reader, rest)
        return echo.messages
    finally:
        writer.close()


async def _client(host: str, port: int, agent: str) -> None:
    count = int((await ask(host, port, "/getCaseCount"))[0])
    for case in range(1, count + 1):
        await ask(host, port, f"/runCase?case={case}&agent={agent}")
    await ask(host, port, f"/updateReports?agent={agent}")


async def _server(port: int) -> None:
    server = await asyncio.start_server(serve_one, "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main(role: str, *arguments: str) -> None:
    if role == "server":
        asyncio.run(_server(int(arguments[0])))
    else:
        host, port, *agent = arguments
        asyncio.run(_client(host, int(port), *(agent or ["pagent"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
