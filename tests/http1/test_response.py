from __future__ import annotations

import contextlib

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagent.http1.response import BadResponse, Framing, ResponseParser
from pagent.http1.response_head import parse_head
from pagent.limits import BODY_LENGTH_MAX, FRAMES_AT_ONCE, INTERIM_MAX, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_MAX
from tests.http1.sinks import RecordingSink, parse, split_at

NONE, LENGTH, CHUNKED, CLOSE = Framing.NONE, Framing.LENGTH, Framing.CHUNKED, Framing.UNTIL_CLOSE

OK = b"HTTP/1.1 200 OK\r\n"
CL = b"Content-Length: 5\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
END = b"\r\n"

#: Name, response, status, framing, reusable, body. The connection is closed only for the framing that needs it.
GOOD: list[tuple[str, bytes, int, Framing, bool, bytes]] = [
    ("9112 6.3 rule 6: by length", OK + CL + END + b"hello", 200, LENGTH, True, b"hello"),
    ("length 0", OK + b"Content-Length: 0\r\n" + END, 200, LENGTH, True, b""),
    ("9112 6.3 rule 4: chunked", OK + TE + END + HELLO, 200, CHUNKED, True, b"hello"),
    ("codings are case-blind", OK + b"tRansfer-encodinG: CHUNKED\r\n" + END + HELLO, 200, CHUNKED, True, b"hello"),
    ("chunked, empty", OK + TE + END + b"0\r\n\r\n", 200, CHUNKED, True, b""),
    ("9112 6.3 rule 8: until close", OK + END + b"hello", 200, CLOSE, False, b"hello"),
    ("until close, empty", OK + END, 200, CLOSE, False, b""),
    ("until close though keep-alive", OK + b"Connection: keep-alive\r\n" + END, 200, CLOSE, False, b""),
    ("9112 6.3 rule 1: 204", b"HTTP/1.1 204 No Content\r\n\r\n", 204, NONE, True, b""),
    ("204 with a length", b"HTTP/1.1 204 x\r\n" + CL + END, 204, NONE, True, b""),
    ("304 with a length", b"HTTP/1.1 304 x\r\n" + CL + END, 304, NONE, True, b""),
    ("304 with a coding", b"HTTP/1.1 304 x\r\n" + TE + END, 304, NONE, True, b""),
    ("304 with both", b"HTTP/1.1 304 x\r\n" + TE + CL + END, 304, NONE, True, b""),
    ("304 with another coding", b"HTTP/1.1 304 x\r\nTransfer-Encoding: gzip\r\n" + END, 304, NONE, True, b""),
    ("205 is not special in 6.3", b"HTTP/1.1 205 x\r\nContent-Length: 0\r\n\r\n", 205, LENGTH, True, b""),
    ("9112 9.3: close", OK + CL + b"Connection: close\r\n" + END + b"hello", 200, LENGTH, False, b"hello"),
    ("close in a list", OK + CL + b"Connection: x, CLOSE\r\n" + END + b"hello", 200, LENGTH, False, b"hello"),
    ("close comes second", OK + CL + b"Connection: x\r\nConnection: close\r\n\r\nhello", 200, LENGTH, False, b"hello"),
    ("close wins", OK + CL + b"Connection: close, keep-alive\r\n\r\nhello", 200, LENGTH, False, b"hello"),
    ("9112 9.3: 1.0 closes", b"HTTP/1.0 200 OK\r\n" + CL + END + b"hello", 200, LENGTH, False, b"hello"),
    ("1.0 kept", b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + CL + END + b"hello", 200, LENGTH, True, b"hello"),
    ("1.0 until close", b"HTTP/1.0 200 OK\r\n\r\nhello", 200, CLOSE, False, b"hello"),
    ("1.0 304 with a coding", b"HTTP/1.0 304 x\r\nConnection: keep-alive\r\n" + TE + END, 304, NONE, False, b""),
    ("9110 8.6: the same twice", OK + CL + CL + END + b"hello", 200, LENGTH, True, b"hello"),
    ("9110 8.6: the same in a list", OK + b"Content-Length: 5, 5\r\n" + END + b"hello", 200, LENGTH, True, b"hello"),
    ("leading zeros", OK + b"Content-Length: 005\r\n" + END + b"hello", 200, LENGTH, True, b"hello"),
    ("no reason phrase", b"HTTP/1.1 200 \r\n" + CL + END + b"hello", 200, LENGTH, True, b"hello"),
    ("nor its blank", b"HTTP/1.1 200\r\n" + CL + END + b"hello", 200, LENGTH, True, b"hello"),
    ("odd reasons", b"HTTP/1.1 200 \xc3\xbc \xfc\t: x\r\n" + CL + END + b"hello", 200, LENGTH, True, b"hello"),
    ("status 599", b"HTTP/1.1 599 x\r\n" + CL + END + b"hello", 599, LENGTH, True, b"hello"),
    ("418", b"HTTP/1.1 418 x\r\n" + CL + END + b"hello", 418, LENGTH, True, b"hello"),
    ("9110 15.2: 100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + CL + END + b"hello", 200, LENGTH, True, b"hello"),
    ("102, 103 first", b"HTTP/1.1 102 x\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\n" + OK + END, 200, CLOSE, False, b""),
    ("199 first", b"HTTP/1.1 199\r\nContent-Length: 9\r\n\r\n" + OK + CL + END + b"hello", 200, LENGTH, True, b"hello"),
    ("no blank after the colon", OK + b"Content-Length:5\r\n" + END + b"hello", 200, LENGTH, True, b"hello"),
    ("blanks around a value", OK + b"Content-Length:\t 5 \t\r\n" + END + b"hello", 200, LENGTH, True, b"hello"),
    ("surplus: 9112 9.2", OK + CL + END + b"hello" + OK, 200, LENGTH, False, b"hello"),
    ("surplus CRLF", OK + CL + END + b"hello\r\n", 200, LENGTH, False, b"hello"),
    ("surplus after chunks", OK + TE + END + HELLO + b"x", 200, CHUNKED, False, b"hello"),
    ("a body for 204", b"HTTP/1.1 204 x\r\n\r\nhello", 204, NONE, False, b""),
    ("a body for 304", b"HTTP/1.1 304 x\r\n" + CL + END + b"hello", 304, NONE, False, b""),
]  # fmt: skip

#: The case, the response, whether the head is still valid.
BAD: list[tuple[str, bytes, bool]] = [
    ("HTTP/0.9", b"hello", False),
    ("HTTP/0.9 in full", b"<html></html>\r\n\r\n", False),
    ("9112 2.3: version", b"HTTP/1.2 200 OK\r\n\r\n", False),
    ("HTTP/2", b"HTTP/2 200\r\n\r\n", False),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\n\r\n", False),
    ("HTTP/0.9 by name", b"HTTP/0.9 200 OK\r\n\r\n", False),
    ("HTTP/1.10", b"HTTP/1.10 200 OK\r\n\r\n", False),
    ("HTTP/01.1", b"HTTP/01.1 200 OK\r\n\r\n", False),
    ("http/1.1", b"http/1.1 200 OK\r\n\r\n", False),
    ("ICY", b"ICY 200 OK\r\n\r\n", False),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", False),
    ("TLS", b"\x15\x03\x01\x00\x02\x02\x46", False),
    ("a blank line first", b"\r\n" + OK + END, False),
    ("a blank first", b" " + OK + END, False),
    ("9112 4: two blanks", b"HTTP/1.1  200 OK\r\n\r\n", False),
    ("a tab", b"HTTP/1.1\t200 OK\r\n\r\n", False),
    ("no status", b"HTTP/1.1\r\n\r\n", False),
    ("9110 15: status 099", b"HTTP/1.1 099 x\r\n\r\n", False),
    ("status 600", b"HTTP/1.1 600 x\r\n\r\n", False),
    ("status 20", b"HTTP/1.1 20 x\r\n\r\n", False),
    ("status 2000", b"HTTP/1.1 2000 x\r\n\r\n", False),
    ("status +20", b"HTTP/1.1 +20 x\r\n\r\n", False),
    ("status 2_0", b"HTTP/1.1 2_0 x\r\n\r\n", False),
    ("status in Arabic digits", "HTTP/1.1 ٢٠٠ x\r\n\r\n".encode(), False),
    ("status OK", b"HTTP/1.1 200OK\r\n\r\n", False),
    ("9110 15.2.2: 101", b"HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n", False),
    ("101 after 100", b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 101 x\r\n\r\n", False),
    ("9112 2.2: LF alone", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", False),
    ("LF alone in one line", OK + b"A: b\nB: c\r\n\r\n", False),
    ("CR alone", OK + b"A: b\rB: c\r\n\r\n", False),
    ("CR CR LF", OK + b"A: b\r\r\n\r\n", False),
    ("LF CR", OK + b"A: b\n\rB: c\r\n\r\n", False),
    ("LF in the reason", b"HTTP/1.1 200 O\nK\r\n\r\n", False),
    ("NUL in the reason", b"HTTP/1.1 200 O\0K\r\n\r\n", False),
    ("9112 5.2: obs-fold", OK + b"A: b\r\n c\r\n\r\n", False),
    ("obs-fold by tab", OK + b"A: b\r\n\tc\r\n\r\n", False),
    ("obs-fold of the first", OK + b" A: b\r\n\r\n", False),
    ("an empty fold", OK + b"A: b\r\n \r\nB: c\r\n\r\n", False),
    ("9110 5.5: NUL", OK + b"A: b\0c\r\n\r\n", False),
    ("9110 5.5: control", OK + b"A: b\x01c\r\n\r\n", False),
    ("DEL", OK + b"A: b\x7fc\r\n\r\n", False),
    ("vertical tab around", OK + b"Content-Length: \x0b5\r\n\r\nhello", False),
    ("9112 5.1: a blank before the colon", OK + b"Content-Length : 5\r\n\r\nhello", False),
    ("a tab before the colon", OK + b"A\t: 5\r\n\r\n", False),
    ("no colon", OK + b"Hello\r\n\r\n", False),
    ("no name", OK + b": b\r\n\r\n", False),
    ("a name in quotes", OK + b'"A": b\r\n\r\n', False),
    ("a name beyond ASCII", "HTTP/1.1 200 OK\r\nÄ: b\r\n\r\n".encode(), False),
    ("a name with a blank", OK + b"A B: b\r\n\r\n", False),
    ("two status lines", OK + OK + END, False),
    ("9112 6.3 rule 5: lengths that differ", OK + CL + b"Content-Length: 6\r\n\r\nhello!", False),
    ("lengths that differ in a list", OK + b"Content-Length: 5, 6\r\n\r\nhello!", False),
    ("a list with a gap", OK + b"Content-Length: 5,\r\n\r\nhello", False),
    ("an empty length", OK + b"Content-Length:\r\n\r\n", False),
    ("length +5", OK + b"Content-Length: +5\r\n\r\nhello", False),
    ("length -5", OK + b"Content-Length: -5\r\n\r\nhello", False),
    ("length 0x5", OK + b"Content-Length: 0x5\r\n\r\nhello", False),
    ("length 5.0", OK + b"Content-Length: 5.0\r\n\r\nhello", False),
    ("length 5_0", OK + b"Content-Length: 5_0\r\n\r\nhello", False),
    ("length 5 5", OK + b"Content-Length: 5 5\r\n\r\nhello", False),
    ("length in superscript", OK + b"Content-Length: \xb2\r\n\r\nhe", False),
    ("length in Arabic digits", OK + "Content-Length: ٥\r\n\r\nhello".encode(), False),
    ("a length of 65 bits", OK + b"Content-Length: 18446744073709551621\r\n\r\nhello", False),
    ("a length of 64 bits", OK + b"Content-Length: 9223372036854775808\r\n\r\nhello", False),
    ("bad lengths for 204 too", b"HTTP/1.1 204 x\r\nContent-Length: x\r\n\r\n", False),
    ("9112 6.3 rule 3: both", OK + TE + CL + END + HELLO, False),
    ("both, the other way round", OK + CL + TE + END + HELLO, False),
    ("both, length 0", OK + b"Content-Length: 0\r\n" + TE + END + HELLO, False),
    ("9112 6.1: in HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + TE + END + HELLO, False),
    ("9112 7.4: a coding that was not offered", OK + b"Transfer-Encoding: gzip, chunked\r\n" + END + HELLO, False),
    ("9112 6.3 rule 4: chunked is not last", OK + b"Transfer-Encoding: chunked, gzip\r\n" + END + HELLO, False),
    ("another coding alone", OK + b"Transfer-Encoding: gzip\r\n" + END + HELLO, False),
    ("identity, of RFC 2616", OK + b"Transfer-Encoding: identity\r\n" + END + HELLO, False),
    ("9112 7.1: chunked twice", OK + b"Transfer-Encoding: chunked, chunked\r\n" + END + HELLO, False),
    ("chunked in two fields", OK + TE + TE + END + HELLO, False),
    ("no coding", OK + b"Transfer-Encoding:\r\n" + END + HELLO, False),
    ("xchunked", OK + b"Transfer-Encoding: xchunked\r\n" + END + HELLO, False),
    ("chunked in quotes", OK + b'Transfer-Encoding: "chunked"\r\n' + END + HELLO, False),
    ("chunked with a parameter", OK + b"Transfer-Encoding: chunked;a=b\r\n" + END + HELLO, False),
    ("chunked with a comma", OK + b"Transfer-Encoding: chunked,\r\n" + END + HELLO, False),
    ("chunked and a vertical tab", OK + b"Transfer-Encoding: \x0bchunked\r\n" + END + HELLO, False),
    ("too many fields", OK + b"A: b\r\n" * (RESPONSE_FIELDS_MAX + 1) + END, False),
    ("too large a head", OK + b"A: " + b"x" * RESPONSE_HEAD_MAX + b"\r\n\r\n", False),
    ("too large, without an end", OK + b"A: " + b"x" * RESPONSE_HEAD_MAX, False),
    ("9112 7.1: bad size", OK + TE + END + b"zz\r\n", True),
    ("LF in the size line", OK + TE + END + b"5\nhello\r\n0\r\n\r\n", True),
    ("no CRLF after a chunk", OK + TE + END + b"5\r\nhello0\r\n\r\n", True),
    ("a trailer without a colon", OK + TE + END + b"0\r\nA\r\n\r\n", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status", "framing", "reusable", "body"), [row[1:] for row in GOOD], ids=[r[0] for r in GOOD]
)
def test_good(data: bytes, status: int, framing: Framing, reusable: bool, body: bytes) -> None:
    events = parse([data], eof=framing is CLOSE)
    kind, head = events[0]
    assert (kind, head[0], head[2]) == ("head", status, framing)
    assert events[1:] == ([("body", body)] if body else []) + [("complete", reusable)]


@pytest.mark.parametrize(("data", "head_seen"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad(data: bytes, head_seen: bool) -> None:
    events = parse([data])
    assert events[-1] == ("bad", head_seen)
    assert [kind for kind, _ in events[:-1]].count("head") == head_seen
    # The result is the same byte by byte, and with eof.
    assert parse([bytes([byte]) for byte in data[:5000]] + [data[5000:]], eof=True)[-1] == ("bad", head_seen)


@settings(max_examples=300)
@given(st.sampled_from([row[1] for row in GOOD] + [row[1] for row in BAD]), st.data(), st.booleans())
def test_any_split_gives_the_same(data: bytes, draw: st.DataObject, head_request: bool) -> None:
    places = draw.draw(st.lists(st.integers(0, min(len(data), 500)), max_size=5))
    whole = parse([data], head_request=head_request, eof=True)
    parts = parse(split_at(data, *places), head_request=head_request, eof=True)
    if parts[-2:-1] in ([("complete", True)], [("complete", False)]):
        # Bytes after the response that arrive later drop the connection, as bytes that arrive with it.
        assert parts[-1] == ("bad", True)
        parts = [*parts[:-2], ("complete", False)]
    assert parts == whole


class Llhttp:
    """Return (status, body) of the final response from another parser; None if there is none."""

    def __init__(self, data: bytes) -> None:
        self.found: tuple[int, bytes] | None = None
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        # It is stricter in places, and never tolerant of bytes after a response.
        with contextlib.suppress(httptools.HttpParserError):
            self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self.found is None and self._parser.get_status_code() >= 200:
            self.found = self._parser.get_status_code(), self._body


def test_what_llhttp_reads_to_an_end_is_read_so_here() -> None:
    rows = {name: (Llhttp(data).found, (status, body)) for name, data, status, _, _, body in GOOD}
    assert len([found for found, _ in rows.values() if found is not None]) > 25
    assert {name: row for name, row in rows.items() if row[0] not in (None, row[1])} == {}


@pytest.mark.parametrize("data", [row[1] for row in GOOD], ids=[row[0] for row in GOOD])
def test_what_is_good_is_so_to_h11(data: bytes) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    events = parse([data], eof=True)
    client.receive_data(data)
    client.receive_data(b"")
    if b"Transfer-Encoding: gzip" in data:
        # It refuses the coding of a body that does not come.
        with pytest.raises(h11.RemoteProtocolError):
            client.next_event()
        return
    status, body = None, b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
    assert status == events[0][1][0]
    assert body == b"".join(what for kind, what in events if kind == "body")


names = st.text("abcXYZ-09_!", min_size=1, max_size=12).filter(lambda name: name.lower() not in {"te", "connection"})
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
bodies = st.binary(max_size=200)


@settings(max_examples=150)
@given(st.integers(200, 599), st.lists(st.tuples(names, values), max_size=8), bodies, st.booleans(), st.data())
def test_what_h11_writes_is_read(
    status: int, fields: list[tuple[str, str]], body: bytes, chunked: bool, draw: st.DataObject
) -> None:
    if status in (204, 304):
        body = b""
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    while not isinstance(server.next_event(), h11.EndOfMessage):
        pass
    framing = [("Transfer-Encoding", "chunked")] if chunked else [("Content-Length", str(len(body)))]
    data = server.send(h11.Response(status_code=status, headers=[*fields, *framing], reason="r")) or b""
    data += server.send(h11.Data(data=body)) or b""
    data += server.send(h11.EndOfMessage()) or b""

    events = parse(split_at(data, *draw.draw(st.lists(st.integers(0, len(data)), max_size=4))))
    kept = [list(pair) for pair in fields]
    if not chunked and status != 204:
        kept.append(["Content-Length", str(len(body))])
    # h11 writes the names of fields in lower case unless it has them with their own; values go without blanks.
    assert [[name.lower(), value] for name, value in events[0][1][1]] == [[name.lower(), value] for name, value in kept]
    assert events[1:] == ([("body", body)] if body else []) + [("complete", True)]


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([OK, CL, TE, END, HELLO, b"A: b\r\n", b"\n", b"\r", b" ", b"\0", b":", b"x", b"0"])),
    st.binary(),
)
def test_anything_at_all_ends_in_order(parts: list[bytes], noise: bytes) -> None:
    events = parse([b"".join(parts), noise], eof=True)
    kinds = [kind for kind, _ in events]
    assert kinds[-1] in ("complete", "bad")
    assert kinds.count("head") <= 1
    assert kinds[0] in ("head", "bad")


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"", False),
        (b"HT", False),
        (OK, False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (OK + CL + END, True),
        (OK + CL + END + b"hell", True),
        (OK + TE + END, True),
        (OK + TE + END + b"5\r\nhello\r\n", True),
        (OK + TE + END + b"5\r\nhello\r\n0\r\n", True),
        (OK + TE + END + b"5\r\nhello\r\n0\r\nA: b\r\n", True),
    ],
)
def test_breaking_off_is_no_end(data: bytes, seen: bool) -> None:
    assert parse([data], eof=True)[-1] == ("bad", seen)
    assert ("bad", seen) not in parse([data])


def test_a_head_request_has_no_body_whatever_the_head_says() -> None:
    for fields in (CL, TE, TE + CL, b""):
        events = parse([OK + fields + END], head_request=True)
        assert events[0][1][2] is NONE
        assert events[1:] == [("complete", False)]
    # The length that a GET would get is worth knowing; beside Transfer-Encoding it is not that.
    assert parse([OK + CL + END], head_request=True)[0][1][1] == [["Content-Length", "5"]]
    assert parse([OK + TE + CL + END], head_request=True)[0][1][1] == []
    assert parse([b"HTTP/1.1 204 x\r\n" + CL + END])[0][1][1] == []
    assert parse([b"HTTP/1.1 304 x\r\n" + CL + END])[0][1][1] == [["Content-Length", "5"]]


def headers_of(fields: bytes) -> list[list[str]]:
    return parse_head(OK + fields + b"Content-Length: 0", head_request=False).headers[:-1]


def test_order_repetition_and_spelling_are_kept() -> None:
    fields = b"Set-Cookie: a=1\r\nX-B:2\r\nset-cookie:\t b=2 \r\nX-Empty:\r\nSET-COOKIE: a:b\r\nCOntent-TYpe: x\r\n"
    assert headers_of(fields) == [
        ["Set-Cookie", "a=1"],
        ["X-B", "2"],
        ["set-cookie", "b=2"],
        ["X-Empty", ""],
        ["SET-COOKIE", "a:b"],
        ["COntent-TYpe", "x"],
    ]


def test_hop_by_hop_fields_are_dropped() -> None:
    fields = (
        b"Connection: X-Hop, close, Set-Cookie, content-length\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n"
        b"TE: x\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\nx-hop: 1\r\nSet-Cookie: a\r\n"
    )
    assert headers_of(fields) == [["Set-Cookie", "a"]]


def test_a_connection_field_out_of_all_proportion() -> None:
    assert parse([OK + CL + b"Connection: " + b"x," * 10_000 + b"\r\n\r\nhello"]) == [("bad", False)]


def test_values_are_utf8_and_other_bytes_are_lone_surrogates() -> None:
    assert headers_of(b"A1: \xc3\xbc\r\nB1: \xfc\r\nC1: c\r\n") == [["A1", "ü"], ["B1", "\udcfc"], ["C1", "c"]]
    # Blanks are SP and HTAB; a no-break space belongs to the value.
    assert headers_of("A1: \u00a0x\u00a0\r\n".encode()) == [["A1", "\u00a0x\u00a0"]]


@pytest.mark.parametrize(
    "fields", [CL + CL, b"Content-Length: 5,5\r\n", b"content-length: 05\r\nContent-Length: 5\r\n"]
)
def test_the_length_goes_on_once_and_plainly(fields: bytes) -> None:
    events = parse([OK + b"X-A: 1\r\n" + fields + b"X-B: 2\r\n\r\nhello"])
    assert [value for _, value in events[0][1][1]] == ["1", "5", "2"]


def test_the_codings_of_the_body() -> None:
    assert parse_head(OK + b"Content-Length: 0", head_request=False).content_encoding is None
    head = parse_head(OK + b"Content-Encoding: gzip\r\nX-A: 1\r\ncontent-encoding: x", head_request=False)
    assert head.content_encoding == "gzip, x"
    assert head.headers == [["Content-Encoding", "gzip"], ["X-A", "1"], ["content-encoding", "x"]]


def test_trailers() -> None:
    assert parse([OK + TE + END + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n"])[1:] == [
        ("body", b"hello"),
        ("trailers", [["X-Sum", "1"], ["X-Sum", "2"]]),
        ("complete", True),
    ]


def test_a_head_as_large_as_is_allowed() -> None:
    head = OK + CL + b"A: "
    head += b"x" * (RESPONSE_HEAD_MAX - len(head) - 4) + b"\r\n\r\n"
    assert parse([head + b"hello"])[-1] == ("complete", True)
    assert parse(split_at(head + b"hello", 9, len(head) - 2))[-1] == ("complete", True)
    many = OK + b"A: b\r\n" * (RESPONSE_FIELDS_MAX - 1) + CL + END + b"hello"
    assert parse([many])[-1] == ("complete", True)


def test_a_length_as_large_as_is_allowed() -> None:
    events = parse([OK + b"Content-Length: %d\r\n\r\nhello" % BODY_LENGTH_MAX])
    assert events[0][1][3] == BODY_LENGTH_MAX
    assert events[1:] == [("body", b"hello")]


def test_interim_responses_without_end_are_not_gathered() -> None:
    sink = RecordingSink()
    parser = ResponseParser(sink, head_request=False)
    for _ in range(200):
        parser.feed(b"HTTP/1.1 102 Processing\r\nX: " + b"x" * 1000 + b"\r\n\r\n")
    parser.feed(OK + b"Content-Length: 0\r\n\r\n")
    assert [kind for kind, _ in sink.events] == ["head", "complete"]


def test_interim_responses_are_bounded() -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    assert parse([interim * INTERIM_MAX + OK + CL + END + b"hello"])[-1] == ("complete", True)
    assert parse([interim * INTERIM_MAX, interim]) == [("bad", False)]


def test_body_bytes_are_not_copied() -> None:
    sink = RecordingSink()
    parser = ResponseParser(sink, head_request=False)
    large = b"x" * 100_000
    parser.feed(OK + b"Content-Length: 250001\r\n\r\n" + large)
    parser.feed(large)
    parser.feed(large[:50_001])
    assert [type(piece) for piece in sink.pieces] == [memoryview, bytes, bytes]
    assert sink.pieces[1] is large
    assert sink.events[-1] == ("complete", True)


def test_a_second_end_is_accepted_and_bytes_after_it_are_not() -> None:
    sink = RecordingSink()
    parser = ResponseParser(sink, head_request=False)
    parser.feed(OK + CL + END + b"hello")
    parser.eof()
    parser.feed(b"")
    assert sink.events[-1] == ("complete", True)
    with pytest.raises(BadResponse, match=r"^bytes after the response$"):
        parser.feed(b"x")
    parser.eof()
    with pytest.raises(RuntimeError):
        parser.feed(b"x")


def test_the_state_is_right_while_the_sink_is_called() -> None:
    """A sink may find out that it does not want the body, and raise: that is no fault of the response."""

    class Refusing(RecordingSink):
        def body(self, data: bytes | memoryview) -> None:
            raise KeyError("enough")

    parser = ResponseParser(Refusing(), head_request=False)
    with pytest.raises(KeyError):
        parser.feed(OK + CL + END + b"he")
    with pytest.raises(BadResponse, match="the end of the body"):
        parser.eof()


# --- very many chunks ---------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4 * FRAMES_AT_ONCE), st.lists(st.integers(0, 40_000)))
@settings(max_examples=50)
def test_very_many_chunks_are_decoded_some_at_a_time(sizes: list[int], places: list[int]) -> None:
    body = b"".join(bytes([48 + number % 10]) * size for number, size in enumerate(sizes))
    coded, at = b"", 0
    for size in sizes:
        coded += b"%x\r\n%b\r\n" % (size, body[at : at + size])
        at += size
    data = OK + TE + END + coded + b"0\r\nX-Sum: 5\r\n\r\n"
    sink = RecordingSink()
    parser = ResponseParser(sink, head_request=False)
    steps = 0
    for piece in split_at(data, *(place for place in places if place < len(data))):
        parser.feed(piece)
        while parser.more:
            steps += 1
            before = len(sink.bytes)
            parser.feed(b"")
            assert len(sink.bytes) - before <= 9 * FRAMES_AT_ONCE
    assert sink.bytes == body
    assert sink.events[-2:] == [("trailers", [["X-Sum", "5"]]), ("complete", True)]
    assert places or steps >= len(sizes) // FRAMES_AT_ONCE - 1
