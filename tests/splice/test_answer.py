"""Fields and errors of a response, by the kind of caller."""

from __future__ import annotations

import pytest

from pagent.errors import RequestRefusedError
from pagent.http1.fields import Framing
from pagent.http1.heads import RequestHead, ResponseHead
from pagent.http1.request import encode_request
from pagent.http1.response_head import parse_head
from pagent.splice.answer import Caller, Fields, UndecodableError, fields_for, send_error
from tests.kit.ends import MemoryDestination, MemoryStream


def request(method: str = "GET", *headers: tuple[str, str]) -> RequestHead:
    return encode_request(method, "/", (), headers, authority="127.0.0.1:80", identity=True)


def head(*lines: bytes, status: bytes = b"200 OK") -> ResponseHead:
    return parse_head(b"\r\n".join([b"HTTP/1.1 " + status, *lines]), head_request=False)


async def fields(caller: Caller, response: ResponseHead, asked: RequestHead | None = None) -> Fields:
    return fields_for(caller, response, MemoryDestination(), asked or request())[0]


@pytest.mark.parametrize(
    ("caller", "names"),
    [
        (Caller.FIELD, ["Content-Type", "ETag", "X-AB"]),
        (Caller.OURS, ["content-type", "etag", "x-aB"]),
        (Caller.RAW, ["content-type", "trailer", "etag", "x-aB"]),
    ],
)
async def test_spelling_and_trailer(caller: Caller, names: list[str]) -> None:
    response = head(b"content-type: a", b"trailer: x", b"etag: b", b"x-aB: c", b"transfer-encoding: chunked")
    assert [name for name, _ in await fields(caller, response)] == names


@pytest.mark.parametrize("caller", Caller)
async def test_references_to_the_job_are_path_absolute(caller: Caller) -> None:
    response = head(b"Location: http://localhost:80/login", b"Content-Length: 0", status=b"302 Found")
    assert ["Location", "/login"] in await fields(caller, response)


async def test_the_fields_of_an_encoded_body_stay_for_raw_callers_only() -> None:
    response = head(b"Content-Encoding: gzip", b"Content-Length: 9", b"Accept-Ranges: bytes")
    for caller in (Caller.FIELD, Caller.OURS):
        left, decoder = fields_for(caller, response, MemoryDestination(), request())
        assert left == []
        assert decoder is not None
    left, decoder = fields_for(Caller.RAW, response, MemoryDestination(), request())
    assert (left, decoder) == (response.headers, None)


async def test_an_unknown_coding_cannot_be_undone() -> None:
    response = head(b"Content-Encoding: mine", b"Content-Length: 9")
    for caller in (Caller.FIELD, Caller.OURS):
        with pytest.raises(UndecodableError, match="unknown content coding 'mine'"):
            await fields(caller, response)
    assert await fields(Caller.RAW, response) == response.headers


async def test_a_bodiless_response_gets_a_length_for_old_routers_only() -> None:
    response = head(status=b"204 No Content")
    assert response.framing is Framing.NONE
    assert await fields(Caller.FIELD, response) == [["Content-Length", "0"]]
    assert await fields(Caller.OURS, response) == await fields(Caller.RAW, response) == []
    compressed = request("GET", ("Accept-Encoding", "gzip"))
    assert await fields(Caller.FIELD, response, compressed) == [["Content-Length", "0"], ["Connection", "close"]]
    assert await fields(Caller.OURS, response, compressed) == []


@pytest.mark.parametrize(
    ("caller", "method", "always", "sent"),
    [
        (Caller.FIELD, "GET", False, [502, []]),
        (Caller.FIELD, "GET", True, [502, [], b"502 Bad Gateway: two lines\n"]),
        (Caller.FIELD, "HEAD", True, [502, [["Content-Length", "0"]]]),
        (
            Caller.OURS,
            "GET",
            False,
            [
                502,
                [["Content-Type", "text/plain; charset=utf-8"], ["Content-Length", "27"]],
                b"502 Bad Gateway: two lines\n",
            ],
        ),
        (
            Caller.RAW,
            "HEAD",
            False,
            [502, [["Content-Type", "text/plain; charset=utf-8"], ["Content-Length", "27"]]],
        ),
    ],
)
def test_a_502_of_the_agent(caller: Caller, method: str, always: bool, sent: list[object]) -> None:
    stream = MemoryStream()
    send_error(stream, caller, request(method), RequestRefusedError(502, "two\r\nlines"), always=always)
    assert stream.sent == sent


@pytest.mark.parametrize(
    ("caller", "method", "sent"),
    [
        (Caller.FIELD, "GET", [503, [["Retry-After", "2"]]]),
        (Caller.FIELD, "HEAD", [503, [["Retry-After", "2"], ["Content-Length", "0"]]]),
        (
            Caller.RAW,
            "GET",
            [
                503,
                [["Content-Type", "text/plain; charset=utf-8"], ["Content-Length", "31"], ["Retry-After", "2"]],
                b"503 Service Unavailable: short\n",
            ],
        ),
    ],
)
def test_a_503_of_the_agent(caller: Caller, method: str, sent: list[object]) -> None:
    stream = MemoryStream()
    send_error(stream, caller, request(method), RequestRefusedError(503, "short", retry_after_s=2))
    assert stream.sent == sent
