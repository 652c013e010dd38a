from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagent.http1.fields import Framing
from pagent.http1.incoming import BadRequest, IncomingHead, read_head
from pagent.http1.incoming_body import IncomingBody
from pagent.http1.incoming_buffer import HeadBuffer
from pagent.limits import BODY_LENGTH_MAX
from pagent.router_limits import INCOMING_FIELD_MAX, INCOMING_FIELDS_MAX, INCOMING_HEAD_MAX
from tests.http1.sinks import split_at

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
END = b"\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"


def events(pieces: Iterable[bytes]) -> list[Any]:
    """Return (method, target, fields, body, trailers) of each request of a connection; a fault is the last."""
    found: list[Any] = []
    buffer = HeadBuffer()
    body: IncomingBody | None = None
    content = bytearray()
    head: IncomingHead | None = None

    def ended() -> None:
        assert head is not None
        trailers = body.trailers if body is not None else []
        found.append((head.method, head.target, head.fields, bytes(content), trailers))
        content.clear()

    try:
        for piece in pieces:
            at: int | None = 0
            while at is not None and (at < len(piece) or (body is not None and body.more)):
                if body is not None:
                    at = body.feed(piece, at)
                    while at is None and body.more:
                        at = body.feed(b"", 0)
                    if at is not None:
                        ended()
                        body = None
                    continue
                cut = buffer.cut(piece, at)
                if cut is None:
                    break
                block, at = cut
                head = read_head(block)
                if head.framing is Framing.NONE or (head.framing is Framing.LENGTH and not head.length):
                    ended()
                else:
                    body = IncomingBody(head, content.extend)
    except BadRequest as error:
        found.append(error.status)
    return found


def head_of(data: bytes) -> IncomingHead:
    cut = HeadBuffer().cut(data, 0)
    assert cut is not None
    assert cut[1] == len(data)
    return read_head(cut[0])


#: The case, and the bytes of a request whose head is answered with 400.
BAD_HEADS: list[tuple[str, bytes]] = [
    ("HTTP/0.9", b"GET /\r\n\r\n"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("9112 2.3: version", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("HTTP/1.10", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    ("http/1.1", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("no version", b"GET / \r\nHost: a\r\n\r\n"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("two blanks", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a blank at the end", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("a tab", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a blank first", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a blank in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("9110 9.1: method", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no method", b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("9112 3.2.1: no slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a fragment", b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("9112 3.2.4: * for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("control in the target", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("NUL in the target", b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute form of another host", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute form with a user", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute form without a host", b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute form of another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute form of another port", b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("9112 3.2: no Host", b"GET / HTTP/1.1\r\n\r\n"),
    ("two Hosts", GET + b"Host: a.example\r\n\r\n"),
    ("a Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("a Host with a blank", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("a Host with a user", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("a Host with a bad port", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    ("two Hosts in one", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("9112 2.2: LF alone", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("LF alone at the end", GET + b"A: b\n\r\n"),
    ("CR alone", GET + b"A: b\rC: d\r\n\r\n"),
    ("CR CR LF", GET + b"A: b\r\r\n\r\n"),
    ("9112 5.2: obs-fold", GET + b"A: b\r\n c\r\n\r\n"),
    ("obs-fold by tab", GET + b"A: b\r\n\tc\r\n\r\n"),
    ("obs-fold of the first", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("9112 5.1: a blank before the colon", GET + b"A : b\r\n\r\n"),
    ("a tab before the colon", GET + b"Content-Length\t: 5\r\n\r\n"),
    ("no colon", GET + b"Hello\r\n\r\n"),
    ("a known name without colon", GET + b"Accept\r\n\r\n"),
    ("no name", GET + b": b\r\n\r\n"),
    ("a name in quotes", GET + b'"A": b\r\n\r\n'),
    ("a name beyond ASCII", GET + "Ä: b\r\n\r\n".encode()),
    ("9110 5.5: NUL", GET + b"A: b\0\r\n\r\n"),
    ("control", GET + b"A: b\x01\r\n\r\n"),
    ("DEL", GET + b"A: b\x7f\r\n\r\n"),
    ("two lengths", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("two equal lengths", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("a list of lengths", POST + b"Content-Length: 5, 5\r\n\r\nhello"),
    ("no length", POST + b"Content-Length:\r\n\r\n"),
    ("length +5", POST + b"Content-Length: +5\r\n\r\nhello"),
    ("length -5", POST + b"Content-Length: -5\r\n\r\nhello"),
    ("length 5_0", POST + b"Content-Length: 5_0\r\n\r\n"),
    ("length 0x5", POST + b"Content-Length: 0x5\r\n\r\nhello"),
    ("length in superscript", POST + "Content-Length: ²\r\n\r\nhe".encode()),
    ("length in Arabic digits", POST + "Content-Length: ٥\r\n\r\nhello".encode()),
    ("a length of 64 bits", POST + b"Content-Length: %d\r\n\r\n" % (BODY_LENGTH_MAX + 1)),
    ("9112 6.3: both", POST + TE + b"Content-Length: 5\r\n\r\n" + HELLO),
    ("both, the other way round", POST + b"Content-Length: 5\r\n" + TE + END + HELLO),
    ("9112 6.1: TE in 1.0", b"POST / HTTP/1.0\r\nHost: a\r\n" + TE + END + HELLO),
    ("TE twice", POST + TE + TE + END + HELLO),
    ("chunked, chunked", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + HELLO),
    ("gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + HELLO),
    ("identity", POST + b"Transfer-Encoding: identity\r\n\r\n"),
    ("xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HELLO),
    ("an empty coding", POST + b"Transfer-Encoding:\r\n\r\n"),
    ("chunked with a vertical tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n"),
]  # fmt: skip

#: The same of bodies.
BAD_BODIES: list[tuple[str, bytes]] = [
    ("a bad chunk size", POST + TE + END + b"x\r\nhello\r\n0\r\n\r\n"),
    ("a signed chunk size", POST + TE + END + b"+5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk without its end", POST + TE + END + b"5\r\nhello0\r\n\r\n"),
    ("a chunk that ends with LF", POST + TE + END + b"5\nhello\r\n0\r\n\r\n"),
    ("trailers with a blank", POST + TE + END + b"0\r\nA : b\r\n\r\n"),
]  # fmt: skip


BAD = BAD_HEADS + BAD_BODIES


@pytest.mark.parametrize("data", [case[1] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_requests(data: bytes) -> None:
    assert events([data]) == [400]
    assert events([data[at : at + 1] for at in range(len(data))])[-1] == 400


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        (b"CONNECT / HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        (b"GET /" + b"a" * INCOMING_FIELD_MAX + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * INCOMING_FIELD_MAX * 2, 414),
        (b"GET /" + b"a" * INCOMING_HEAD_MAX * 2, 414),
        (GET + b"A: " + b"b" * INCOMING_FIELD_MAX + b"\r\n\r\n", 431),
        (GET + b"A: b\r\n" * INCOMING_FIELDS_MAX + END, 431),
        (GET + b"A: %s\r\n" % (b"b" * 1000) * 66 + END, 431),
        (GET + b"A: %s\r\n" % (b"b" * 1000) * 66, 431),
        (GET + b"A: " + b"b" * INCOMING_HEAD_MAX, 431),
    ],
)
def test_limits(data: bytes, status: int) -> None:
    assert events([data]) == [status]
    assert events(data[at : at + 1000] for at in range(0, len(data), 1000)) == [status]


def test_the_largest_that_are_good() -> None:
    longest = b"GET /" + b"a" * (INCOMING_FIELD_MAX - 1) + b" HTTP/1.1\r\nHost: a\r\n"
    fields = b"A: b\r\n" * (INCOMING_FIELDS_MAX - 4) + b"A: %s\r\n" % (b"b" * (INCOMING_FIELD_MAX - 3)) * 2
    room = INCOMING_HEAD_MAX - len(longest) - len(fields) - 2
    data = longest + fields + b"A: %s\r\n" % (b"b" * (room - 5)) + END
    assert len(data) == INCOMING_HEAD_MAX
    assert len(events([data])[0][2]) == INCOMING_FIELDS_MAX
    assert len(events([data[:-1], data[-1:]])[0][2]) == INCOMING_FIELDS_MAX
    assert events([data.replace(b"Host: a", b"Host: aa")]) == [431]


GOOD: list[tuple[bytes, list[Any]]] = [
    (GET + END, [("GET", "/", [["Host", "a.example"]], b"", [])]),
    (b"\r\n\r\n" + GET + END, [("GET", "/", [["Host", "a.example"]], b"", [])]),
    (b"GET /a%20b?c=d HTTP/1.0\r\n\r\n", [("GET", "/a%20b?c=d", [], b"", [])]),
    (
        "GET /ü HTTP/1.1\r\nhOST:\ta\t\r\nx-A:ü\r\n\r\n".encode(),
        [("GET", "/ü", [["hOST", "a"], ["x-A", "ü"]], b"", [])],
    ),
    (
        POST + b"content-length: 5\r\n\r\nhello" + GET + END,
        [
            ("POST", "/", [["Host", "a.example"], ["content-length", "5"]], b"hello", []),
            ("GET", "/", [["Host", "a.example"]], b"", []),
        ],
    ),
    (
        POST + TE + END + b"3;a=b\r\nhel\r\n2 \r\nlo\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n" + GET + END,
        [
            ("POST", "/", [["Host", "a.example"], ["Transfer-Encoding", "chunked"]], b"hello", [["X-Sum", "1"]]),
            ("GET", "/", [["Host", "a.example"]], b"", []),
        ],
    ),
    (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [("OPTIONS", "*", [["Host", "a"]], b"", [])]),
    (b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", [("OPTIONS", "*", [["Host", "a"]], b"", [])]),
    (b"GET http://A:80?x HTTP/1.1\r\nHost: a\r\n\r\n", [("GET", "/?x", [["Host", "a"]], b"", [])]),
    (b"GET HTTPS://a/b HTTP/1.1\r\nHost: a:443\r\n\r\n", [("GET", "/b", [["Host", "a:443"]], b"", [])]),
    (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", [("GET", "/", [["Host", "[::1]:80"]], b"", [])]),
    (b"M-SEARCH / HTTP/1.1\r\nHost:\r\n\r\n", [("M-SEARCH", "/", [["Host", ""]], b"", [])]),
    (
        GET
        + b"Connection: X-Mine, close, Host, content-length\r\nX-Mine: 1\r\n"
        + b"Keep-Alive: 5\r\nProxy-Connection: x\r\n\r\n",
        [("GET", "/", [["Host", "a.example"]], b"", [])],
    ),
    (GET + b"TE: trailers\r\nTrailer: a\r\n\r\n",
     [("GET", "/", [["Host", "a.example"], ["TE", "trailers"], ["Trailer", "a"]], b"", [])]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), GOOD)
def test_good_requests(data: bytes, expected: list[Any]) -> None:
    assert events([data]) == expected
    assert events([data[at : at + 1] for at in range(len(data))]) == expected
    for at in range(len(data)):
        assert events([data[:at], data[at:]]) == expected


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_split_says_the_same(data: st.DataObject) -> None:
    wire = b"".join(data.draw(st.lists(st.sampled_from([good for good, _ in GOOD] + [bad for _, bad in BAD]))))
    places = data.draw(st.lists(st.integers(0, len(wire)), max_size=8))
    assert events(split_at(wire, *places)) == events([wire])


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_noise_is_no_error_of_ours(noise: bytes) -> None:
    events([noise])
    events([GET + noise])
    events([POST + TE + END + noise])


@pytest.mark.parametrize(
    ("start", "field", "keeps"),
    [
        ("HTTP/1.1", "X: y", True),
        ("HTTP/1.1", "Connection: close", False),
        ("HTTP/1.1", "connection: keep-alive, CLOSE", False),
        ("HTTP/1.0", "X: y", False),
        ("HTTP/1.0", "Connection: Keep-Alive", True),
        ("HTTP/1.0", "Connection: keep-alive, close", False),
    ],
)
def test_keep_alive(start: str, field: str, keeps: bool) -> None:
    assert head_of(f"GET / {start}\r\nHost: a\r\n{field}\r\n\r\n".encode()).keep_alive is keeps


def test_fields_of_the_origin_are_separated_in_every_spelling() -> None:
    names = ["X-Forwarded-For", "x_forwarded-proto", "X_REAL_IP", "Forwarded", "x-forwarded-Prefix"]
    lines = "".join(f"{name}: 1\r\n" for name in names)
    head = head_of(GET + lines.encode() + b"X-Pagent-Token: s\r\nx_pagent_x: t\r\nX-Request-Id: r\r\n\r\n")
    assert head.fields == [["Host", "a.example"]]
    assert [name for name, _ in head.forwarded] == names
    assert head.own == [["X-Pagent-Token", "s"], ["x_pagent_x", "t"]]
    assert head.request_id == "r"


@pytest.mark.parametrize(
    ("start", "fields", "upgrade", "passed"),
    [
        ("HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket", "websocket", [["Upgrade", "websocket"]]),
        ("HTTP/1.1", "Connection: x, upgrade\r\nUpgrade: A/1\r\nUpgrade: h2c, b", "a/1, b", [["Upgrade", "A/1, b"]]),
        ("HTTP/1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x", "", []),
        ("HTTP/1.1", "Upgrade: websocket", "", []),
        ("HTTP/1.1", "Connection: Upgrade", "", []),
        ("HTTP/1.0", "Connection: Upgrade\r\nUpgrade: websocket", "", []),
    ],
)
def test_upgrades(start: str, fields: str, upgrade: str, passed: list[list[str]]) -> None:
    head = head_of(f"GET / {start}\r\nHost: a\r\n{fields}\r\n\r\n".encode())
    assert (head.upgrade, head.fields[1:]) == (upgrade, passed)


def test_expect() -> None:
    head = head_of(POST + b"Expect: 100-Continue\r\n\r\n")
    assert head.expects_continue
    assert head.value("expect") == "100-Continue"
    head = head_of(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
    assert not head.expects_continue
    assert head.fields == []
