"""The job of the tests of the users' side: its path says what it does."""

from __future__ import annotations

import sys

from pagent.rpc.connection import Connection
from tests.kit.programs import serving

#: Of the addresses that the tests use: a double of the directory takes any.
CONNECTION = "0" * 32

_HANDLER = r"""
counts = {"requests": 0, "lost": 0}
released = asyncio.Event()
trailers = []  # of the last body in chunks
cookies = b"Set-Cookie: pagent-ticket=x\r\nSet-Cookie: a=1\r\nset-cookie: __Host-pagent-ticket=x; Path=/\r\n"

async def serve(reader, writer):
    try:
        while True:
            await one(reader, writer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

def plain(writer, body, status=b"200 OK", more=b""):
    writer.write(b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, more, len(body)) + body)

async def body_of(head, reader):
    fields = {n.lower(): v.strip() for n, _, v in (f.partition(b":") for f in head.split(b"\r\n")[1:-2])}
    body = b""
    if fields.get(b"transfer-encoding") == b"chunked":
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        trailers.clear()
        while (line := await reader.readline()) != b"\r\n":
            trailers.append(line)
    else:
        body = await reader.readexactly(int(fields.get(b"content-length", 0)))
    return body

async def one(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    method, path = head.split(b" ")[:2]
    path = path.partition(b"?")[0].decode()
    if path == "/count":
        plain(writer, b"%d %d" % (counts["requests"], counts["lost"]))
        return
    counts["requests"] += 1
    if path == "/head":
        body = await body_of(head, reader)
        plain(writer, head + body)
    elif path == "/hello":
        body = b"" if method == b"HEAD" else b"hello"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n" + body)
    elif path.startswith("/status/"):
        writer.write(b"HTTP/1.1 %s x\r\nX-A: 1\r\n\r\n" % path[8:].encode())
    elif path == "/trailers":
        await body_of(head, reader)
        plain(writer, b"".join(trailers))
    elif path == "/write":  # answers as the body says
        writer.write(await body_of(head, reader))
    elif path == "/length":
        plain(writer, b"%d" % len(await body_of(head, reader)))
    elif path == "/slow-length":  # reads when all between it and the client is full
        await asyncio.sleep(0.2)
        plain(writer, b"%d" % len(await body_of(head, reader)))
    elif path.startswith("/bytes/"):
        size = int(path[7:])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while size:
            piece = min(size, 100_000)
            writer.write(bytes(piece))
            await writer.drain()
            size -= piece
    elif path == "/chunked":
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                     b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n")
    elif path == "/until-close":
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await writer.drain()
        raise ConnectionError
    elif path == "/broken":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
        await writer.drain()
        raise ConnectionError
    elif path == "/broken-chunks":
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        raise ConnectionError
    elif path == "/nonsense":
        writer.write(b"nonsense\r\n\r\n")
        await writer.drain()
        raise ConnectionError
    elif path == "/broken-start":  # the head, and no chunk
        await body_of(head, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n")
    elif path == "/interim":
        writer.write(b"HTTP/1.1 103 x\r\nlink: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    elif path == "/cookies":
        plain(writer, b"", more=cookies)
    elif path == "/cookies-early":
        writer.write(b"HTTP/1.1 103 x\r\n%s\r\n" % cookies)
        plain(writer, b"")
    elif path == "/cookies-101":
        writer.write(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: Mine/2\r\n%s\r\n" % cookies)
        await reader.read()
    elif path == "/expect":
        assert b"Expect: 100-continue" in head
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        plain(writer, (await body_of(head, reader)).upper())
    elif path == "/refuse":  # answers before the body
        plain(writer, b"no", b"413 x")
        await writer.drain()
        await body_of(head, reader)
    elif path == "/events":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await writer.drain()
        await reader.readline()
        counts["lost"] += 1
        raise ConnectionError
    elif path == "/slow":
        await asyncio.sleep(2)
        plain(writer, b"slow")
    elif path == "/held":  # answers after a request for /release
        await released.wait()
        plain(writer, b"held")
    elif path == "/release":
        released.set()
        plain(writer, b"")
    elif path == "/wait":  # never answers
        await reader.read(1)
        counts["lost"] += 1
        raise ConnectionError
    elif path == "/echo":  # an upgrade
        writer.write(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: Mine/2\r\nX-A: 1\r\n\r\nfirst ")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write(b" last")
        writer.write_eof()
        counts["lost"] += 1
        raise ConnectionError
    elif path == "/reset":
        import socket, struct
        writer.write(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: mine\r\n\r\n")
        await writer.drain()
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        plain(writer, b"not here", b"404 x")
"""

SERVER = serving(_HANDLER)


async def start_job(connection: Connection) -> str:
    """Start it on an agent; the start of its targets."""
    job = (await connection.call("job_create", "test"))["uid"]
    command = [sys.executable, "-c", SERVER, "{port}"]
    await connection.call("job_start", job, command, {}, port="auto", ready="connect")
    return f"/jobs/{CONNECTION}/{job}/http"
