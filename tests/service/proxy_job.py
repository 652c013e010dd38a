"""A job for tests of ``http_request``."""

#: Its path names its behaviour. /state reports the connections made and lost, and the bytes read.
SERVER = """
import asyncio, gzip, json, socket, struct, sys, zlib
made = lost = 0
read = sent = 0

def answer(body, *fields, status="200 OK"):
    return "\\r\\n".join(["HTTP/1.1 " + status, f"Content-Length: {len(body)}", *fields, "", ""]).encode() + body

async def body_of(reader, fields):
    global read
    if fields.get("transfer-encoding") == "chunked":
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
            read += size
        await reader.readline()
        return b"".join(parts)
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    read += len(body)
    return body

async def one(reader, writer):
    global sent
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
    start, *lines = head.split("\\r\\n")[:-2]
    method, target, _ = start.split(" ")
    fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
    path, _, number = target.partition("?")[0].partition("=")
    if path == "/early":  # answers before it reads the body
        writer.write(answer(b"no", status="413 Too Large"))
        return await body_of(reader, fields) is not None
    if path == "/early-close":  # and goes, with the body unread: the kernel sends a reset
        writer.write(answer(b"no", "Connection: close", status="413 Too Large"))
        await writer.drain()
        return False
    if path == "/pieces":  # a piece back for each piece
        writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
        while size := int(await reader.readline(), 16):
            piece = (await reader.readexactly(size + 2))[:-2].upper()
            writer.write(b"%x\\r\\n%s\\r\\n" % (size, piece))
        await reader.readline()
        writer.write(b"0\\r\\nX-Trailer: t\\r\\n\\r\\n")
        return True
    if path == "/stuck":  # reads nothing
        writer.transport.pause_reading()
        await asyncio.Event().wait()
        return False
    if path == "/endless":
        writer.write(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536
    body = await body_of(reader, fields)
    if path == "/silent":
        await reader.read()
        return False
    if path == "/state":
        writer.write(answer(json.dumps({"made": made, "lost": lost, "read": read, "sent": sent}).encode()))
    elif path == "/head":
        writer.write(answer(head.encode()))
    elif path == "/no-body":
        writer.write(f"HTTP/1.1 100 Continue\\r\\n\\r\\nHTTP/1.1 103 Early Hints\\r\\nLink: x\\r\\n\\r\\n"
                     f"HTTP/1.1 {number} x\\r\\nX-A: 1\\r\\n\\r\\n".encode())
    elif path == "/not-modified":
        fields = ["HTTP/1.1 304 x", f"Content-Encoding: {number}", "Accept-Ranges: bytes", 'ETag: "1"', "", ""]
        writer.write("\\r\\n".join(fields).encode())
    elif path == "/part":
        writer.write(answer(b"hello", "Content-Encoding: gzip", "Content-Range: bytes 7-11/99", status="206 x"))
    elif method == "HEAD":
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\nContent-Encoding: br\\r\\n\\r\\n")
    elif path == "/redirect":
        writer.write(answer(b"", "Location: /head", "Set-Cookie: a", "Set-Cookie: b", status="302 Found"))
    elif path == "/zero":
        writer.write(answer(bytes(int(number))))
    elif path == "/gzip":
        writer.write(answer(gzip.compress(b"hello" * 1000), "Content-Encoding: gzip", "Accept-Ranges: bytes"))
    elif path == "/corrupt":  # in its checksum, after all of the data
        coded = gzip.compress(bytes(int(number)))
        writer.write(answer(coded[:-8] + bytes([coded[-8] ^ 1]) + coded[-7:], "Content-Encoding: gzip"))
    elif path == "/bomb":
        writer.write(answer(gzip.compress(bytes(64 << 20)), "Content-Encoding: gzip"))
    elif path == "/deflate":
        writer.write(answer(zlib.compress(b"hello" * 1000), "Content-Encoding: deflate"))
    elif path == "/until-close":
        writer.write(b"HTTP/1.1 200 OK\\r\\n\\r\\nhello")
        return False
    elif path == "/reset":  # after half of the body
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nhello")
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    elif path == "/drop":
        return False
    elif path == "/then-drop":  # keeps it until the next request
        writer.ends = True
        writer.write(answer(b"kept"))
    elif path == "/then-close":  # announces that it keeps the connection, and does not
        writer.write(answer(b"kept"))
        await writer.drain()
        return False
    else:
        writer.write(answer(body))
    return True

async def serve(reader, writer):
    global made, lost
    made += 1
    try:
        while await one(reader, writer):
            await writer.drain()
            if getattr(writer, "ends", False):  # reads one more request, and closes without an answer
                head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().lower().split("\\r\\n")
                await body_of(reader, dict(line.split(": ") for line in head[1:-2]))
                break
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        pass
    lost += 1
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""
