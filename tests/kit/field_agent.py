"""An agent written from the protocol page alone, which stands for one of the field: no extensions, no instance.

Its jobs are no processes: each is a small HTTP server in this loop, which echoes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.kit.peer import SUBPROTOCOL

_PAUSE_S = 0.1


class FieldJob:
    """A job: its server, and its files."""

    def __init__(self, name: str | None) -> None:
        self.uid = uuid.uuid4().hex
        self.name = name or "<unnamed job>"
        self.state = "NEW"
        self.files: dict[str, bytes] = {}
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        self.server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        self.state = "RUNNING"

    @property
    def port(self) -> int:
        if self.server is None:
            raise ValueError("job does not contain a running server")
        return int(self.server.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self.server is not None:
            self.server.close()


class JobNotFoundError(Exception):
    """The name is that of the field."""


class FieldAgent:
    """Dials a router again and again until it is closed; its jobs end with each link."""

    def __init__(self, uid: str, port: int, token: str) -> None:
        self.uid = uid
        self._port = port
        self._token = token
        self._jobs: dict[str, FieldJob] = {}
        self._calls: dict[int, asyncio.Queue[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep a link."""
        while True:
            try:
                url = f"ws://127.0.0.1:{self._port}/rpc/v1"
                async with connect(url, subprotocols=[SUBPROTOCOL], compression=None, max_size=None) as socket:
                    await self._serve(socket)
            except (OSError, websockets.WebSocketException):
                pass
            finally:
                self._end_jobs()
            await asyncio.sleep(_PAUSE_S)

    def _end_jobs(self) -> None:
        for task in self._tasks:
            task.cancel()
        for job in self._jobs.values():
            job.close()
        self._jobs.clear()

    async def _serve(self, socket: ClientConnection) -> None:
        auth = {"uid": self.uid, "name": "of the field", "token": self._token}
        names = ("system", "node", "release", "version", "machine", "processor")
        data = {"auth": auth, "platform": dict.fromkeys(names, "x"), "properties": {"runtime": "py3"}}
        await _send(socket, [1, 1, [1, None, data]])
        async for raw in socket:
            message = msgpack.unpackb(raw, strict_map_key=False)
            kind, call_id = message[0], message[1]
            if kind == 2:
                self._calls[call_id] = asyncio.Queue()
                task = asyncio.create_task(self._answer(socket, call_id, *message[3:6]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif kind == 4 and call_id in self._calls:
                self._calls[call_id].put_nowait(message[2])
            elif kind == 5 and call_id in self._calls:
                self._calls[call_id].put_nowait(b"")

    async def _answer(self, socket: ClientConnection, call_id: int, name: str, args: list[Any], kwargs: Any) -> None:
        method = getattr(self, f"rpc_{name}", None)
        try:
            if method is None:
                await _send(socket, [7, call_id, None, 20, [f"no method {name}", None, None, None]])
                return
            result = await method(socket, call_id, *args, **kwargs)
            await _send(socket, [7, call_id, msgpack.packb(result), 0, None])
        except (JobNotFoundError, ValueError, TypeError, OSError) as error:
            cause = [f"call {call_id} ({name!r}) failed: {error}", type(error).__name__, str(error), "a traceback"]
            await _send(socket, [7, call_id, None, 10, cause])
        finally:
            self._calls.pop(call_id, None)

    def _job(self, uid: str) -> FieldJob:
        if uid not in self._jobs:
            raise JobNotFoundError(f"job {uid!r} is not found")
        return self._jobs[uid]

    def _info(self, job: FieldJob) -> dict[str, Any]:
        sender = {"direction": "CLIENT", "uid": "router", "name": "router"}
        return {"uid": job.uid, "name": job.name, "state": job.state, "sender": sender}

    # --- methods ------------------------------------------------------------------------------------

    async def rpc_job_create(self, socket: Any, call_id: int, name: str | None = None) -> Any:
        job = FieldJob(name)
        self._jobs[job.uid] = job
        return self._info(job)

    async def rpc_job_start(
        self,
        socket: Any,
        call_id: int,
        uid: str,
        args: Any,
        env: Any,
        cwd: Any = None,
        ports: int = 1,
        out: bool = False,
    ) -> Any:
        await self._job(uid).start()
        return self._info(self._job(uid))

    async def rpc_job_info(self, socket: Any, call_id: int, uid: str) -> Any:
        return self._info(self._job(uid))

    async def rpc_job_remove(self, socket: Any, call_id: int, uid: str) -> Any:
        job = self._job(uid)
        del self._jobs[uid]
        job.close()
        return self._info(job)

    async def rpc_job_count_current_connection(self, socket: Any, call_id: int) -> int:
        return len(self._jobs)

    async def rpc_file_upload(
        self, socket: Any, call_id: int, uid: str, filename: str, executable: bool = False
    ) -> int:
        self._job(uid).files[filename] = data = await self._body(call_id)
        return len(data)

    async def rpc_file_download(
        self, socket: Any, call_id: int, uid: str, filename: str, chunk_size: int = 65536, remove: bool = False
    ) -> int:
        job = self._job(uid)
        if filename not in job.files:
            raise FileNotFoundError(2, "No such file or directory", filename)
        data = job.files[filename]
        await _send(socket, [8, call_id, {"size": len(data)}])
        for at in range(0, len(data), chunk_size):
            await _send(socket, [8, call_id, data[at : at + chunk_size]])
        return len(data)

    async def rpc_http_request(
        self, socket: Any, call_id: int, uid: str, method: str, path: str, query: Any, headers: Any
    ) -> None:
        port = self._job(uid).port
        body = await self._body(call_id)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        await _send(socket, [8, call_id, int(lines[0].split()[1])])
        await _send(socket, [8, call_id, [list(line.split(": ", 1)) for line in lines[1:]]])
        await _send(socket, [8, call_id, await reader.read()])
        writer.close()

    async def _body(self, call_id: int) -> bytes:
        parts = []
        while part := await self._calls[call_id].get():
            parts.append(part)
        return b"".join(parts)


async def _send(socket: ClientConnection, message: list[Any]) -> None:
    await socket.send(msgpack.packb(message, use_bin_type=True))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length"))
    body = head.split("\r\n")[0].rsplit(" ", 1)[0].encode() + b"\n" + await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    writer.close()


@asynccontextmanager
async def field_agent(uid: str, port: int, token: str) -> AsyncIterator[FieldAgent]:
    """An agent of the field that keeps a link to a router; ended after the block."""
    agent = FieldAgent(uid, port, token)
    task = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        task.cancel()
        await asyncio.wait((task,))
