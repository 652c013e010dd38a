"""The opening handshake of a job's WebSocket: what is passed on, and the reason of a refusal in any pieces."""

from __future__ import annotations

import pytest

from pagent.http1.request import encode_request
from pagent.limits import REFUSAL_TEXT_MAX
from pagent.splice.websocket_handshake import Refusal, upgrade_for
from tests.http1.sinks import split_at

START = b"HTTP/1.1 403 Forbidden\r\n"


def request_of(*fields: tuple[str, str], target: str = "/a", subprotocols: tuple[str, ...] = ()) -> list[str]:
    """Return the lines of the request that the job gets."""
    head = encode_request("GET", target, (), fields, authority="job.example", identity=True)
    return upgrade_for(head, subprotocols).request().decode("utf-8", "surrogateescape").split("\r\n")


def lower(lines: list[str]) -> list[str]:
    return [line.lower() for line in lines]


def test_the_fields_of_the_caller_reach_the_job() -> None:
    lines = request_of(("X-Mine", "1"), ("Cookie", "a=b; c"), ("x-bytes", "\udcff"), ("Origin", "http://a: 1"))
    assert lines[0] == "GET /a HTTP/1.1"
    found = lower(lines)
    for line in ("host: job.example", "x-mine: 1", "cookie: a=b; c", "x-bytes: \udcff", "origin: http://a: 1"):
        assert line in found


def test_the_handshake_of_the_caller_and_the_framing_of_a_body_do_not() -> None:
    names = ["Sec-WebSocket-Key", "sec-websocket-version", "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"]
    lines = lower(
        request_of(*((name, "evil") for name in names), ("Content-Type", "evil"), subprotocols=("one", "two"))
    )
    assert not any("evil" in line for line in lines)
    assert "sec-websocket-protocol: one, two" in lines
    assert sum(line.startswith("sec-websocket-key:") for line in lines) == 1


def reason(data: bytes, *places: int) -> str:
    """Return the reason of a refusal that comes in these pieces; what follows its end is not fed."""
    refusal = Refusal(403)
    for piece in split_at(data, *places):
        if refusal.feed(piece):
            break
    error = refusal.error()
    assert str(error).startswith("403") or "403" in str(error)
    return str(error)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (START + b"Content-Length: 3\r\n\r\nwhy", "why"),
        (START + b"Transfer-Encoding: chunked\r\n\r\n1\r\nw\r\n2\r\nhy\r\n0\r\n\r\n", "why"),
        (START + b"\r\n  why\r\n", "why"),  # it ends with the connection
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + START + b"Content-Length: 3\r\n\r\nwhy", "why"),
        (START + b"Content-Length: 2\r\n\r\n\xc3\xa4", "\u00e4"),
        (START + b"Content-Length: 1\r\n\r\n\xff", "\ufffd"),
    ],
)
def test_the_reason_is_the_body_in_any_pieces(data: bytes, text: str) -> None:
    whole = reason(data)
    assert whole.endswith(text)
    for at in range(1, len(data)):
        assert reason(data, at) == whole
    assert reason(data, *range(len(data))) == whole


@pytest.mark.parametrize(
    "data",
    [
        START + b"Content-Length: 0\r\n\r\n",
        START + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nwhy",
        START + b"no field\r\n\r\nwhy",
        START + b"Transfer-Encoding: chunked\r\n\r\nwhy",
    ],
)
def test_a_refusal_without_a_readable_reason(data: bytes) -> None:
    refusal = Refusal(403)
    assert refusal.feed(data)
    assert "why" not in str(refusal.error())


def test_a_long_reason_is_cut() -> None:
    refusal = Refusal(500)
    assert not refusal.feed(START + b"Content-Length: 9000000\r\n\r\n" + b"x" * (REFUSAL_TEXT_MAX - 1))
    assert refusal.feed(b"x" * 5000)
    assert str(refusal.error()).count("x") == REFUSAL_TEXT_MAX
