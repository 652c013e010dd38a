"""Responses as an older router sends them on, read by a strict client that keeps its connection.

Such a router looks for a field by one spelling of its name, and adds what it does not find. It sends a body in chunks
where there is no length (docs/with-an-old-router.rst).
"""

from __future__ import annotations

from typing import Any

import h11
import pytest

from tests.kit.peer import BISTREAM, Peer
from tests.kit.programs import serving, start_program

#: Answers with the head that its request has as X-Head, field by field, and with the body of X-Body.
ANSWERS = serving("""
async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).split(b"\\r\\n")
            asked = [f.partition(b": ")[2] for f in head if f.lower().startswith(b"x-head:")]
            body = b"".join(f.partition(b": ")[2] for f in head if f.lower().startswith(b"x-body:"))
            writer.write(b"HTTP/1.1 " + b"\\r\\n".join(asked) + b"\\r\\n\\r\\n" + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
""")

_LATIN1 = """
async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nX-A: \\xe9 \\xc3\\xa9\\r\\nContent-Length: 0\\r\\n\\r\\n")
    await writer.drain()
"""

_REPLACED = ("Cache-Control", "Expires", "Content-Encoding")


def sent_on(method: str, status: int, fields: list[list[str]], pieces: list[bytes]) -> bytes:
    """The bytes that such a router sends to a client that accepts no compression."""
    names = [name for name, _ in fields]
    head = [
        f"{name}: {value}" for name, value in fields if name not in ("Cache-Control", "Expires", "Content-Encoding")
    ]
    head += ["Cache-Control: no-store, must-revalidate", "Expires: 0"]
    chunked = "Content-Length" not in names
    if chunked:
        head.append("Transfer-Encoding: chunked")
    if "Content-Type" not in names:
        head.append("Content-Type: application/octet-stream")
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) if chunked else b"".join(pieces)
    end = b"0\r\n\r\n" if chunked else b""
    return "\r\n".join([f"HTTP/1.1 {status} Status", *head, "", ""]).encode("latin-1") + body + end


class Client:
    """A client with one connection."""

    def __init__(self, peer: Peer, job: str) -> None:
        self._peer = peer
        self._job = job
        self._connection = h11.Connection(h11.CLIENT)

    async def ask(self, head: list[str], body: str = "", method: str = "GET") -> tuple[h11.Response, bytes]:
        """Send a request whose response the test gives to the job; RemoteProtocolError for an invalid one."""
        asked = [["X-Head", line] for line in head] + ([["X-Body", body]] if body else [])
        status, fields, pieces = await self._peer.http(self._job, method, headers=[["Host", "a"], *asked])
        self._connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        self._connection.send(h11.EndOfMessage())
        self._connection.receive_data(sent_on(method, status, fields, pieces))
        response: Any = self._connection.next_event()
        data = b""
        while isinstance(event := self._connection.next_event(), h11.Data):
            data += event.data
        assert isinstance(event, h11.EndOfMessage)
        # Bytes after the response would be taken for the next one.
        assert self._connection.trailing_data == (b"", False)
        self._connection.start_next_cycle()
        return response, data


@pytest.fixture
async def client(peer: Peer) -> Client:
    return Client(peer, await start_program(peer, ANSWERS))


def values(response: h11.Response, name: bytes) -> list[bytes]:
    return [value for found, value in response.headers if found == name]


@pytest.mark.parametrize("name", ["content-type", "Content-type", "CONTENT-TYPE", "Content-Type"])
@pytest.mark.parametrize("length", ["content-length", "Content-length", "Content-Length"])
async def test_a_page_has_one_type_and_one_length(client: Client, name: str, length: str) -> None:
    for _ in range(2):
        response, body = await client.ask(["200 OK", f"{name}: text/html", f"{length}: 4"], "page")
        assert body == b"page"
        assert values(response, b"content-type") == [b"text/html"]
        assert (values(response, b"content-length"), values(response, b"transfer-encoding")) == ([b"4"], [])


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("GET", ["204 No Content"]),
        ("GET", ["204 No Content", "content-length: 0"]),
        ("GET", ["304 Not Modified", 'etag: "x"']),
        ("GET", ["304 Not Modified", "content-length: 5"]),
        ("HEAD", ["200 OK", "content-length: 5"]),
        ("HEAD", ["200 OK", "transfer-encoding: chunked"]),
        ("HEAD", ["204 No Content"]),
    ],
)
async def test_no_bytes_follow_a_response_without_a_body(client: Client, method: str, head: list[str]) -> None:
    for _ in range(2):
        response, body = await client.ask(head, method=method)
        assert (response.status_code, body) == (int(head[0][:3]), b"")
        assert values(response, b"transfer-encoding") == []
        length = [line.partition(": ")[2].encode() for line in head if line.startswith("content-length")]
        assert values(response, b"content-length") == (length or [b"0"])
    response, body = await client.ask(["200 OK", "content-length: 4"], "page")
    assert body == b"page"


async def test_fields_of_the_router_replace_those_of_the_job(client: Client) -> None:
    head = ["200 OK", "content-length: 4", "cache-control: max-age=9", "expires: 9", "content-encoding: identity"]
    response, body = await client.ask(head, "page")
    assert body == b"page"
    assert values(response, b"cache-control") == [b"no-store, must-revalidate"]
    assert values(response, b"expires") == [b"0"]
    assert values(response, b"content-encoding") == []


@pytest.mark.parametrize(
    ("method", "head"), [("GET", "204 No Content"), ("GET", "304 Not Modified"), ("HEAD", "200 OK")]
)
async def test_a_client_that_accepts_compression_closes_before_the_router_writes(
    peer: Peer, method: str, head: str
) -> None:
    """The end of the call would make such a router write a compressed body of nothing."""
    job = await start_program(peer, ANSWERS)
    headers = [["Accept-Encoding", "gzip, deflate"], ["X-Head", head], ["X-Head", "content-length: 0"]]
    call = await peer.start(BISTREAM, "http_request", job, method, "/", [], headers)
    await peer.data(call, b"")
    status, fields = [(await peer.next_of(call))[2] for _ in range(2)]
    assert status == int(head[:3])
    assert ["Connection", "close"] in fields
    await peer.cancel(call)  # as the router does when its client has gone
    assert await peer.http(job, "GET", headers=[["X-Head", "200 OK"], ["X-Head", "content-length: 0"]]) == (
        200,
        [["Content-Length", "0"]],
        [],
    )
    call = await peer.start(BISTREAM, "http_request", job, method, "/", [], headers)
    await peer.data(call, b"")
    assert await peer.outcome(call) == ([status, fields], None)  # a client that stays delays the result only


async def test_text_of_a_job_that_is_not_utf8_is_read_as_latin1(peer: Peer) -> None:
    """Such a router takes no bytes there."""
    job = await start_program(peer, serving(_LATIN1))
    _, fields, _ = await peer.http(job, "GET")
    assert dict(map(tuple, fields))["X-A"] == "\u00e9 \u00c3\u00a9"
