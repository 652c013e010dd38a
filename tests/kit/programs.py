"""Programs that tests run as jobs. Each is a script for ``python -c``; ``{port}`` is replaced by the agent."""

from __future__ import annotations

import sys
from typing import Any

from tests.kit.peer import ISTREAM, Peer

_PRELUDE = """
import asyncio, os, sys
"""

_MAIN = """
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


def serving(handler: str) -> str:
    """A program whose connections are served by the coroutine ``serve(reader, writer)`` of ``handler``."""
    return _PRELUDE + handler + _MAIN


#: Returns the request: its head and body as the body, once the body has come whole.
ECHO = serving("""
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            fields = {n.lower(): v.strip() for n, _, v in (f.partition(b":") for f in head.split(b"\\r\\n")[1:-2])}
            body = b""
            if fields.get(b"transfer-encoding") == b"chunked":
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            else:
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(head + body) + head + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
""")


#: Listens until it gets a signal, then no more, and says so.
_CLOSES = """
import os, signal, socket, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.sigwait([signal.SIGUSR1])
listening.close()
os.write(1, b"closed\\n")
time.sleep(600)
"""


async def start_closed_program(peer: Peer) -> str:
    """Start a job that keeps running without its port; return its uid when no process listens there."""
    job = await start_program(peer, _CLOSES)
    await peer.call("job_kill", job, "USR1")
    logs = await peer.start(ISTREAM, "job_logs", job, "stdout", follow=True)
    assert (await peer.next_of(logs))[2] == b"closed\n"
    await peer.cancel(logs)
    return job


async def start_program(peer: Peer, script: str, env: dict[str, str] | None = None, **options: Any) -> str:
    """Create a job and start a script whose first argument is its port; the job's uid."""
    job = (await peer.call("job_create", "test"))["uid"]
    arguments = [sys.executable, "-c", script, "{port}"]
    await peer.call("job_start", job, arguments, env or {}, port="auto", ready="connect", **options)
    return str(job)
