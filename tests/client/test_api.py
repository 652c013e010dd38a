"""One request to the HTTP API of a router: its URL, and answers of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pagent.client.api import ApiAddress, api_request, parse_url
from pagent.errors import ApiError, ConfigError, DialError, LinkClosedError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h", ("h", 80, False, "")),
        ("https://H/", ("h", 443, True, "")),
        ("http://h:8080/a/b//", ("h", 8080, False, "/a/b")),
        ("https://[::1]:1", ("::1", 1, True, "")),
        ("http://bücher", ("xn--bcher-kva", 80, False, "")),
    ],
)
def test_a_url(url: str, address: tuple[str, int, bool, str]) -> None:
    assert parse_url(url) == ApiAddress(*address)


@pytest.mark.parametrize(
    "url",
    [
        *("", "h", "h:80", "ws://h", "http://", "http://:80", "http://h:x", "http://h:65536", "http://[::1"),
        *("http://u@h", "http://u:p@h", "http://:p@h", "http://@h", "http://h?q", "http://h#f"),
        *("http://h:0", "http://a..b", f"http://{'a' * 64}.org", "http://h/a b", "http://h/ü", "http://h/\x7f"),
    ],
)
def test_a_url_that_is_not_of_a_router(url: str) -> None:
    with pytest.raises(ConfigError, match="URL of a router"):
        parse_url(url)


@asynccontextmanager
async def answering(*parts: bytes) -> AsyncIterator[ApiAddress]:
    """Run a server that answers each request with these bytes, and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield ApiAddress("127.0.0.1", server.sockets[0].getsockname()[1], False, "/p")


async def value_of(*parts: bytes) -> Any:
    async with answering(*parts) as address, api_request(address, "GET", "/v1", {}) as answer:
        return await answer.value()


def ok(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), more, body)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (ok(b'{"a": 1}'), {"a": 1}),
        (ok(b""), None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (ok(b"no JSON \xff"), "no JSON \ufffd"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(b"1"), 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n1\r\n]\r\n0\r\nt: x\r\n\r\n", [1]),
        (b"HTTP/1.1 200 OK\r\n\r\n[1]", [1]),
    ],
)
async def test_the_value_of_an_answer(answer: bytes, value: Any) -> None:
    assert await value_of(answer) == value
    assert await value_of(*(answer[at : at + 1] for at in range(len(answer)))) == value


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ok(b'{"detail": "d", "request_id": "r"}', b"404 Not Found"), (404, "d", "r", None)),
        (ok(b'{"title": "t"}', b"503 X", b"X-Request-Id: i\r\nRetry-After: 7\r\n"), (503, "t", "i", 7.0)),
        (ok(b"plain", b"400 X", b"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"), (400, "plain", "", None)),
        (ok(b"[1]", b"500 X", "Retry-After: ²\r\n".encode("latin-1")), (500, "[1]", "", None)),
        (ok(b"", b"502 X"), (502, "", "", None)),
    ],
)
async def test_an_error_is_a_problem(answer: bytes, expected: tuple[int, str, str, float | None]) -> None:
    with pytest.raises(ApiError) as caught:
        await value_of(answer)
    error = caught.value
    assert (error.status, error.detail, error.request_id, error.retry_after_s) == expected


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", ok(b"12345")[:-1], b"SSH-2.0-x\r\n\r\n"])
async def test_an_answer_that_is_cut_off(answer: bytes) -> None:
    with pytest.raises(LinkClosedError, match="the answer of the router broke off"):
        await value_of(answer)


async def test_a_router_that_does_not_listen() -> None:
    async with answering() as address:
        pass
    with pytest.raises(DialError, match=f"^127.0.0.1:{address.port}: Connect"):
        async with api_request(address, "GET", "/v1", {}):
            pass
