"""An echo end point for WebSocket conformance suites, on the package's own frames and handshake.

``python -m tests.kit.ws_echo server PORT`` serves a fuzzing client (0: any free port; it is printed).
``python -m tests.kit.ws_echo client HOST PORT [NAME]`` runs all cases of a fuzzing server and has it write its report.
``python -m tests.kit.ws_echo spliced PORT [NAME]`` does so through an agent: the suite's port is that of a job, and a
caller of ``ws_connect`` echoes.

Autobahn's suite needs Python 2.7, which Debian 11 is the last to have: it goes into a root of its own. As root, with
Debian's ``debootstrap``::

    ROOT=$PWD/build/autobahn
    debootstrap --variant=minbase --include=python2.7-dev,gcc,libffi-dev,libssl-dev,ca-certificates bullseye $ROOT
    cp /etc/ssl/certs/ca-certificates.crt $ROOT/etc/ssl/certs/
    pip download --no-deps -d $ROOT/wheels pip==20.3.4 setuptools==44.0.0 wheel==0.37.1
    chroot $ROOT sh -c 'cd wheels && python2.7 pip-*.whl/pip install --no-index *.whl'
    LC_ALL=C.UTF-8 chroot $ROOT python2.7 -m pip install autobahntestsuite==25.10.1

Groups 1-7, 9 and 10 are 301 cases; 12 and 13 are about compression, which is not offered::

    mkdir $ROOT/run
    echo '{"outdir": "/run/as-server", "servers": [{"agent": "pagent", "url": "ws://127.0.0.1:9001"}],
           "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {}}' > $ROOT/run/client.json
    echo '{"outdir": "/run/as-client", "url": "ws://127.0.0.1:9002",
           "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {}}' > $ROOT/run/server.json

Its fuzzing server listens on all addresses, so all of it runs where there is only loopback. The reports are
``index.html`` and ``index.json`` in ``$ROOT/run/as-server`` and ``$ROOT/run/as-client``::

    unshare -n bash
    ip link set lo up
    python -m tests.kit.ws_echo server 9001 &
    until ss -ltn | grep :9001; do sleep 1; done
    LC_ALL=C.UTF-8 chroot $ROOT sh -c 'cd run && wstest -m fuzzingclient -s client.json'
    LC_ALL=C.UTF-8 chroot $ROOT sh -c 'cd run && exec wstest -u 0 -m fuzzingserver -s server.json' &
    until ss -ltn | grep :9002; do sleep 1; done
    python -m tests.kit.ws_echo client 127.0.0.1 9002
    python -m tests.kit.ws_echo spliced 9002
    kill %1 %2

All cases are OK or INFORMATIONAL. Spliced, up to ten are NON-STRICT: they send a message and directly after it what
breaks the rules, and the close is then faster than the echo of a caller farther away.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from wsproto import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.handshake import H11Handshake

from pagent.client.agent import connect_agent
from pagent.client.job import RemoteJob
from pagent.config.model import JobSettings, ServerSettings, Settings
from pagent.errors import CallCancelledError, MethodError, ProtocolError
from pagent.wire import frames
from pagent.wire.upgrade import ClientUpgrade
from tests.kit.agents import TOKEN, running_agent

_MESSAGE_MAX = 64 * 1024 * 1024
_LINGER_S = 2.0


class Echo:
    """One open connection: messages are sent back (text only with ``echo``), by the rules of RFC 6455."""

    def __init__(self, writer: asyncio.StreamWriter, *, client: bool, echo: bool = True) -> None:
        self._writer = writer
        self._client = client
        self._echo = echo
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
        try:
            self._writer.write_eof()
        except OSError:
            return  # reset meanwhile
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while await reader.read(65_536):
                    pass

    def received(self, data: bytes) -> None:
        try:
            for opcode, payload in self._decoder.feed(data):
                self._message(opcode, payload)
            self._decoder.check()
            if self._decoder.more:
                self.received(b"")
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
            if self._echo:
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
        echo = Echo(writer, client=True, echo=is_case(target))
        with contextlib.suppress(ConnectionError):  # a case may end so
            await echo.run(reader, rest)
        return echo.messages
    finally:
        writer.close()


def is_case(target: str) -> bool:
    """Whether it is not about the suite itself, which takes an echo there for a command."""
    return target.startswith("/runCase?")


#: Runs the case of a request target; returns the messages that came.
Asking = Callable[[str], Awaitable[list[str | bytes]]]


async def run_cases(ask_for: Asking, name: str) -> None:
    """All cases of a fuzzing server, under a name that its report calls the tested by."""
    count = int((await ask_for("/getCaseCount"))[0])
    for case in range(1, count + 1):
        await ask_for(f"/runCase?case={case}&agent={name}")
    await ask_for(f"/updateReports?agent={name}")


async def ask_through(job: RemoteJob, target: str) -> list[str | bytes]:
    """As :func:`ask`, through an agent."""
    parts = urlsplit(target)
    messages: list[str | bytes] = []
    async with job.websocket(parts.path, parse_qsl(parts.query)) as socket:
        async for message in socket:
            messages.append(message)
            try:
                if is_case(target):
                    await socket.send(message)
            except (CallCancelledError, MethodError):
                break  # the suite has closed meanwhile
        await socket.close()
    return messages


async def _client(host: str, port: int, name: str) -> None:
    await run_cases(lambda target: ask(host, port, target), name)


async def _spliced(port: int, name: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        settings = Settings(server=ServerSettings(accept_tokens=(TOKEN,)), jobs=JobSettings(root=Path(root)))
        async with (
            running_agent(settings) as agent,
            connect_agent(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as client,
        ):
            job = await client.create_job("suite")
            await job.start(["sleep", "infinity"], port=port, ready="connect")
            await run_cases(lambda target: ask_through(job, target), name)


async def _server(port: int) -> None:
    server = await asyncio.start_server(serve_one, "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main(role: str, *arguments: str) -> None:
    if role == "server":
        asyncio.run(_server(int(arguments[0])))
    elif role == "client":
        host, port, *name = arguments
        asyncio.run(_client(host, int(port), *(name or ["pagent"])))
    else:
        port, *name = arguments
        asyncio.run(_spliced(int(port), *(name or ["pagent through an agent"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
