from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagent.http1.chunked import CHUNK_END, chunk_header
from pagent.http1.fields import Framing
from pagent.http1.heads import RequestHead
from pagent.http1.lines import lines_of
from pagent.http1.request import encode_raw_lines, encode_raw_request, encode_request
from pagent.http1.trailers import LAST_CHUNK
from pagent.limits import BODY_LENGTH_MAX, REQUEST_FIELDS_MAX, REQUEST_HEAD_MAX

Pairs = Sequence[Sequence[str]]


def encode(
    method: str = "GET", path: str = "/", query: Pairs = (), headers: Pairs = (), *, identity: bool = False
) -> RequestHead:
    return encode_request(method, path, query, headers, authority="127.0.0.1:80", identity=identity)


def read(data: bytes) -> tuple[h11.Request, bytes]:
    """Return the only request that h11 finds, and its body; h11 raises on further bytes."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_HEAD_MAX)
    server.receive_data(data)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while not isinstance(event := server.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += bytes(event.data)
    assert server.trailing_data == (b"", False)
    return request, body


def target(head: RequestHead) -> str:
    return head.data.split(b" ")[1].decode()


def fields(head: RequestHead) -> list[str]:
    """Return the lines of the head after Host."""
    start, host, *rest = head.data.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert start.endswith(" HTTP/1.1")
    assert host.startswith("Host: ")
    return rest


def test_a_get_as_it_is_written() -> None:
    head = encode("GET", "/a b", [["q", "1 2"], ["q", ""]], [["Accept", "*/*"], ["X-A", "ü"], ["Host", "router:8080"]])
    assert head.data == "GET /a%20b?q=1%202&q= HTTP/1.1\r\nHost: router:8080\r\nAccept: */*\r\nX-A: ü\r\n\r\n".encode()
    assert (head.framing, head.length, head.idempotent, head.is_head) == (Framing.UNDECIDED, None, True, False)


def test_the_request_of_a_router_in_the_field() -> None:
    """The arguments are those of a captured call."""
    headers = [["X-Test", "1"], ["Accept-Encoding", "gzip, br"], ["Host", "router.example"]]
    head = encode("GET", "/", [["q", "a b"], ["q", "ü"]], headers, identity=True)
    assert head.bodiless_data() == (
        b"GET /?q=a%20b&q=%C3%BC HTTP/1.1\r\nHost: router.example\r\nX-Test: 1\r\nAccept-Encoding: identity\r\n\r\n"
    )


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "PROPFIND", "get"]
)
def test_methods(method: str) -> None:
    head = encode(method)
    assert head.data.startswith(method.encode() + b" / HTTP/1.1\r\n")
    assert head.idempotent == (method in {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
    assert head.is_head == (method == "HEAD")
    expected = b"Content-Length: 0\r\n\r\n" if method in {"PUT", "POST", "PATCH"} else b"Host: 127.0.0.1:80\r\n\r\n"
    assert head.bodiless_data().endswith(expected)
    assert head.framing is Framing.UNDECIDED


@pytest.mark.parametrize(
    "method", ["CONNECT", "connect", "", " ", "GET /x HTTP/1.1\r\nX:", "G ET", "GET\r\n", "G\0T", "GÉT"]
)
def test_methods_that_are_refused(method: str) -> None:
    for path in ("/", "*"):
        with pytest.raises(ValueError, match=r"token|CONNECT"):
            encode(method, path)
    with pytest.raises(ValueError, match=r"token|CONNECT"):
        encode_raw_request(method, "/", [], authority="x")


@pytest.mark.parametrize(
    ("path", "encoded"),
    [
        ("", "/"),
        ("/", "/"),
        ("a", "/a"),
        ("*", "/*"),
        ("//evil/x", "//evil/x"),
        ("http://evil/", "/http://evil/"),
        ("/a/../b/./c", "/a/../b/./c"),
        ("/-._~!$&'()*+,;=:@/", "/-._~!$&'()*+,;=:@/"),
        ("/100%", "/100%25"),
        ("/%2F", "/%252F"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/a b", "/a%20b"),
        ('/"<>[]\\^`{|}', "/%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D"),
        ("/ü€😀", "/%C3%BC%E2%82%AC%F0%9F%98%80"),
        ("/a\r\nHost: evil\r\n\r\n", "/a%0D%0AHost:%20evil%0D%0A%0D%0A"),
        ("/\0\t\x7f\x85", "/%00%09%7F%C2%85"),
        ("/\udcff", "/%FF"),  # a byte that is not UTF-8, decoded with surrogateescape
    ],
)
def test_paths(path: str, encoded: str) -> None:
    assert target(encode(path=path)) == encoded


@given(st.text())
def test_a_path_is_read_back(path: str) -> None:
    request, _ = read(encode(path=path).data)
    assert unquote(request.target.decode(), errors="strict") == (path if path.startswith("/") else "/" + path)


@pytest.mark.parametrize(
    ("query", "encoded"),
    [
        ([], "/"),
        ((), "/"),
        ([["a", ""]], "/?a="),
        ([["", ""]], "/?="),
        ([["b", "1"], ["a", "2"], ["b", "3"]], "/?b=1&a=2&b=3"),
        ((("a", "1"),), "/?a=1"),
        ([["a b", "c d"]], "/?a%20b=c%20d"),
        ([["a", "1+1=2&b;c#d%20"]], "/?a=1%2B1%3D2%26b%3Bc%23d%2520"),
        ([["url", "https://x/?y@z,(w)*'!$:~-._"]], "/?url=https://x/?y@z,(w)*'!$:~-._"),
        ([["a", "\r\n\0"]], "/?a=%0D%0A%00"),
        ([["a[]", "ü"]], "/?a%5B%5D=%C3%BC"),
    ],
)
def test_queries(query: Pairs, encoded: str) -> None:
    assert target(encode(query=query)) == encoded


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_a_query_is_read_back_by_form_decoders_and_strict_ones(query: list[tuple[str, str]]) -> None:
    request, _ = read(encode(path="/p", query=query).data)
    path, _, encoded = request.target.decode().partition("?")
    assert path == "/p"
    assert parse_qsl(encoded, keep_blank_values=True, errors="strict") == query
    assert parse_qsl(encoded, keep_blank_values=True, errors="strict", separator=";") == parse_qsl(
        encoded.replace("&", "%26"), keep_blank_values=True, separator=";"
    )
    strict = [tuple(map(unquote, pair.split("="))) for pair in encoded.split("&")] if query else []
    assert strict == query


@pytest.mark.parametrize(
    "query", [None, "a=b", b"a", {"a": "b"}, 5, [5], ["ab"], [["a"]], [["a", "b", "c"]], [["a", 1]]]
)
def test_queries_that_are_none(query: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="query must be"):
        encode(query=query)


@pytest.mark.parametrize(
    "headers",
    [
        None,
        "a",
        b"a",
        {"a": "b"},
        5,
        [5],
        ["ab"],
        [b"ab"],
        [["a"]],
        [["Host"]],
        [["a", "b", "c"]],
        [["a", 1]],
        [["Accept", 1]],
        [["Accept", b"x"], ["Accept", 1]],
        [["Accept", b"x", b"x"]],
        [["Accept", None]],
        [[b"Accept", "x"]],
        [[["Accept"], "x"]],
        [[1, "x"]],
        [["Host", 1]],
        [["Content-Length", 5]],
        [None],
    ],
)
def test_headers_that_are_none(headers: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="headers must be"):
        encode(headers=headers)


@pytest.mark.parametrize("bad", [None, b"GET", 5])
def test_methods_and_paths_are_strings(bad: Any) -> None:
    with pytest.raises(TypeError, match="method"):
        encode(bad)
    with pytest.raises(TypeError, match="path"):
        encode(path=bad)
    with pytest.raises((TypeError, ValueError), match="target"):
        encode_raw_request("GET", bad, [], authority="x")


def test_bytes_that_are_not_utf8_are_written_as_they_are() -> None:
    fields = [["X-A", b"\xe9"], ["Cookie", b"\xc3\xa9 \xff"], ["X-B", "\u00e9"], ["Content-Length", b"3"]]
    head = encode_raw_request("GET", b"/\xff?\xe9", fields, authority="x")
    assert head.data == (
        b"GET /\xff?\xe9 HTTP/1.1\r\nHost: x\r\nX-A: \xe9\r\nCookie: \xc3\xa9 \xff\r\nX-B: \xc3\xa9\r\n"
        b"Content-Length: 3\r\n\r\n"
    )
    assert encode(headers=[["X-A", b"\xe9"]]).data.count(b"X-A: \xe9\r\n") == 1
    for value in (b"a\r\nb: c", b"a\nb", b"\0"):
        with pytest.raises(ValueError, match="control character"):
            encode_raw_request("GET", "/", [["X-A", value]], authority="x")
    for target in (b"/ HTTP/1.1\r\n", b"/\0", b"x"):
        with pytest.raises(ValueError, match="target"):
            encode_raw_request("GET", target, [], authority="x")


@pytest.mark.parametrize(
    "name", ["", " ", "A ", " A", "A B", "A:", "A\r\nB", "A\n", "A\0", "Ä", "A(", '"A"', ":authority", "a" * 70 + " "]
)
def test_names_that_are_no_tokens(name: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        encode(headers=[[name, "x"]])


@pytest.mark.parametrize("name", ["Accept", "X-Own", "Host", "Cookie", "Accept-Encoding", "x"])
@pytest.mark.parametrize(
    "value",
    [
        "a\r\nX: y",
        "a\nX: y",
        "a\rX: y",
        "a\x00",
        "a\r\n y",
        "\r\n\r\nGET /evil HTTP/1.1\r\n",
        "a\n",
        "\ra",
        "a\x7f",
        "a\x01",
        "a\x0b",
        "a\ud800",
    ],
)
def test_values_that_would_split_or_cut(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"header field '{name}'"):
        encode(headers=[["Accept-Language", "de"], [name, value], ["Date", "x"]])


def test_what_is_refused_does_not_tell_the_value() -> None:
    with pytest.raises(ValueError, match="Authorization") as raised:
        encode(headers=[["Authorization", "Bearer secret\n"]])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "name", ["Connection", "Transfer-Encoding", "Content-Length", "Upgrade", "TE", "Keep-Alive", "Expect"]
)
@pytest.mark.parametrize("value", ["close\r\nX: y", "chunked\nX: y", "5\r\n\r\n", "\0"])
def test_fields_that_are_dropped_or_rewritten_split_no_request_either(name: str, value: str) -> None:
    try:
        head = encode(headers=[[name, value]])
    except ValueError:
        return
    assert head.data == b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"


def test_values_go_as_they_are_but_for_blanks_around_them() -> None:
    headers = [
        ["A1", " \tx \t"],
        ["Accept", "\t a, b "],
        ["B1", ""],
        ["C1", "\u00a0x"],
        ["D1", "a\tb"],
        ["E1", "\udcfc"],
    ]
    data = encode(headers=headers).data
    expected = "A1: x\r\nAccept: a, b\r\nB1: \r\nC1: \u00a0x\r\nD1: a\tb\r\n".encode() + b"E1: \xfc\r\n\r\n"
    assert data.endswith(b"\r\n" + expected)


def test_order_repetition_and_spelling_are_kept() -> None:
    headers = [["cookie", "a"], ["X-B", "1"], ["COOKIE", "b"], ["accept", "x"], ["x-b", "2"], ["Cookie", "c"]]
    assert fields(encode(headers=headers)) == [f"{name}: {value}" for name, value in headers]
    assert fields(encode(headers=tuple(map(tuple, headers)))) == [f"{name}: {value}" for name, value in headers]


def test_hop_by_hop_fields_are_dropped() -> None:
    headers = [
        ["Connection", "X-Hop, keep-alive"],
        ["connection", "close, x-more"],
        ["Keep-Alive", "5"],
        ["Proxy-Connection", "keep-alive"],
        ["Proxy-Authorization", "Basic x"],
        ["TE", "trailers"],
        ["te", "x"],
        ["Trailer", "X"],
        ["UPGRADE", "websocket"],
        ["Expect", "100-continue"],
        ["expect", "x"],
        ["x-hop", "1"],
        ["X-MORE", "1"],
        ["X-Stays", "1"],
    ]
    assert fields(encode(headers=headers)) == ["X-Stays: 1"]
    assert fields(encode(headers=headers[::-1])) == ["X-Stays: 1"]


def test_connection_cannot_take_away_what_is_end_to_end() -> None:
    named = "host, content-length, cookie, X-Forwarded-For, accept-encoding, transfer-encoding"
    headers = [["Connection", named], ["Host", "h"], ["Content-Length", "5"], ["Cookie", "c"], ["X-Forwarded-For", "f"]]
    head = encode("POST", headers=headers, identity=True)
    assert head.data.startswith(b"POST / HTTP/1.1\r\nHost: h\r\n")
    assert fields(head) == ["Cookie: c", "X-Forwarded-For: f", "Accept-Encoding: identity", "Content-Length: 5"]


def test_connection_is_bounded() -> None:
    with pytest.raises(ValueError, match="Connection is too long"):
        encode(headers=[["Connection", "x," * 10_000]])


def test_one_host() -> None:
    assert encode().data.startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n")
    assert encode(headers=[["A1", "b"], ["hOST", " x:1 "]]).data.startswith(b"GET / HTTP/1.1\r\nHost: x:1\r\nA1: b\r\n")
    assert encode(headers=[["Host", ""]]).data == b"GET / HTTP/1.1\r\nHost: \r\n\r\n"
    for other in ("x", "y"):
        with pytest.raises(ValueError, match="more than one Host"):
            encode(headers=[["Host", "x"], ["host", other]])


@pytest.mark.parametrize(
    ("values", "length"),
    [(["5"], 5), (["0"], 0), (["5", "5"], 5), (["5, 5"], 5), ([" 05 "], 5), ([str(BODY_LENGTH_MAX)], BODY_LENGTH_MAX)],
)
def test_lengths(values: list[str], length: int) -> None:
    head = encode("POST", headers=[["content-length", value] for value in values])
    assert fields(head) == [f"Content-Length: {length}"]
    assert (head.framing, head.length) == (Framing.LENGTH, length)


@pytest.mark.parametrize(
    "values",
    [
        [""],
        ["+5"],
        ["-5"],
        ["5 5"],
        ["5,"],
        ["0x5"],
        ["5.0"],
        ["5_0"],
        ["٥"],
        ["1" * 20],
        [str(BODY_LENGTH_MAX + 1)],
        ["5", "6"],
        ["5, 6"],
        ["5", ""],
        ["5", "5x"],
    ],
)
def test_lengths_that_are_refused(values: list[str]) -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        encode("POST", headers=[["Content-Length", value] for value in values])


@pytest.mark.parametrize("name", ["Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING"])
def test_chunked(name: str) -> None:
    head = encode("POST", headers=[[name, " Chunked"]])
    assert fields(head) == ["Transfer-Encoding: chunked"]
    assert (head.framing, head.length) == (Framing.CHUNKED, None)


@pytest.mark.parametrize(
    "values",
    [
        ["gzip"],
        ["gzip, chunked"],
        ["chunked, gzip"],
        ["chunked, chunked"],
        ["chunked", "chunked"],
        ["identity"],
        [""],
        ["chunked", "identity"],
        ["xchunked"],
        ["chunked;q=1"],
        ['"chunked"'],
        ["\x0bchunked"],
        ["chunked,"],
    ],
)
def test_codings_that_are_refused(values: list[str]) -> None:
    with pytest.raises(ValueError, match="Transfer-Encoding is not chunked"):
        encode("POST", headers=[["Transfer-Encoding", value] for value in values])


@pytest.mark.parametrize("length", ["5", "0", "x"])
def test_two_framings_are_refused(length: str) -> None:
    both = [["Content-Length", length], ["Transfer-Encoding", "chunked"]]
    for headers in (both, both[::-1]):
        with pytest.raises(ValueError, match="both Transfer-Encoding and Content-Length"):
            encode("POST", headers=headers)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PROPFIND"])
def test_a_body_that_the_head_does_not_announce_is_chunked(method: str) -> None:
    head = encode(method)
    assert head.framing is Framing.UNDECIDED
    request, body = read(head.chunked_data() + chunk_header(26) + b"x" * 26 + CHUNK_END + LAST_CHUNK)
    assert request.method == method.encode()
    assert body == b"x" * 26


def test_chunk_headers() -> None:
    assert (chunk_header(1), chunk_header(255), chunk_header(262144)) == (b"1\r\n", b"ff\r\n", b"40000\r\n")
    for size in (0, -1):
        with pytest.raises(ValueError, match="no bytes"):
            chunk_header(size)


def test_identity() -> None:
    headers = [["accept-encoding", "gzip"], ["Range", "bytes=0-1"], ["Accept-Encoding", "br"]]
    assert fields(encode(headers=headers, identity=True)) == ["Range: bytes=0-1", "Accept-Encoding: identity"]
    assert fields(encode(headers=headers)) == [f"{name}: {value}" for name, value in headers]
    assert fields(encode(identity=True)) == ["Accept-Encoding: identity"]


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ([], False),
        (["identity"], False),
        (["br, zstd"], False),
        (["gzip"], True),
        (["Deflate;q=0.5"], True),
        (["gzip;q=0"], True),  # old routers do not look at the weight
        (["br", "x-gzip"], True),
    ],
)
def test_a_coding_that_old_routers_apply(values: list[str], taken: bool) -> None:
    headers = [["Accept-Encoding", value] for value in values]
    assert encode(headers=headers, identity=True).takes_compressed is taken
    assert encode_raw_request("GET", "/", headers, authority="x").takes_compressed is taken


@pytest.mark.parametrize(
    "target",
    ["/", "/a%20b?q=%zz&&=", "//x", "/%2F..%2f", '/"<>[]\\^`{|}', "/ü", "/a?b?c", "/\udcff", "/" + "x" * 60_000],
)
def test_raw_targets_are_not_touched(target: str) -> None:
    head = encode_raw_request("GET", target, [["accept-encoding", "br"]], authority="x")
    expected = target.encode("utf-8", "surrogateescape")
    assert head.data == b"GET " + expected + b" HTTP/1.1\r\nHost: x\r\naccept-encoding: br\r\n\r\n"


@pytest.mark.parametrize(
    "target",
    [
        "",
        "a",
        "*",
        "http://evil/",
        "evil:80",
        "/a b",
        "/a\r\nX: y",
        "/a\n",
        "/a\x00",
        "/a\t",
        "/a#b",
        "/a\x7f",
        " /",
        "/\ud800",
        "/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /",
    ],
)
def test_raw_targets_that_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"target|surrogate"):
        encode_raw_request("GET", target, [], authority="x")


def test_a_raw_request_otherwise() -> None:
    assert encode_raw_request("OPTIONS", "*", [], authority="x").data == b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"
    headers = [["Upgrade", "h2c"], ["Connection", "X-Hop"], ["X-Hop", "1"], ["Host", "y"], ["Content-Length", "5"]]
    head = encode_raw_request("POST", "/", headers, authority="x")
    assert head.data == b"POST / HTTP/1.1\r\nHost: y\r\nContent-Length: 5\r\n\r\n"
    assert (head.framing, head.length) == (Framing.LENGTH, 5)


def test_sizes_are_bounded() -> None:
    overhead = len(encode(headers=[["A1", ""]]).data)
    assert len(encode(headers=[["A1", "x" * (REQUEST_HEAD_MAX - overhead)]]).data) == REQUEST_HEAD_MAX
    with pytest.raises(ValueError, match="too large"):
        encode(headers=[["A1", "x" * (REQUEST_HEAD_MAX - overhead + 1)]])
    with pytest.raises(ValueError, match="too large"):
        encode(path="/" + "ü" * (REQUEST_HEAD_MAX // 2))
    with pytest.raises(ValueError, match="too long"):
        encode(path="ü" * (REQUEST_HEAD_MAX + 1))
    with pytest.raises(ValueError, match="too long"):
        encode(query=[["a", "ü" * 1000]] * 100)
    with pytest.raises(ValueError, match="too many query"):
        encode(query=[["", ""]] * (REQUEST_HEAD_MAX + 1))
    assert encode(headers=[["A1", ""]] * REQUEST_FIELDS_MAX).data
    with pytest.raises(ValueError, match="too many headers"):
        encode(headers=[["A1", ""]] * (REQUEST_FIELDS_MAX + 1))


tokens = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=10)
# Printable and beyond ASCII; controls are refused, and h11 lets none pass either.
values = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), max_size=20)
_OURS = {"host", "connection", "te", "expect", "content-length", "transfer-encoding"}


@settings(max_examples=200)
@given(
    tokens.filter(lambda method: method.upper() != "CONNECT"),
    st.text(),
    st.lists(st.tuples(tokens.filter(lambda name: name.lower() not in _OURS), values), max_size=8),
    st.sampled_from(["none", "length", "chunked", "undecided"]),
)
def test_h11_reads_back_what_was_asked_for(method: str, path: str, headers: list[tuple[str, str]], body: str) -> None:
    framing = {"length": [("Content-Length", "5")], "chunked": [("Transfer-Encoding", "chunked")]}.get(body, [])
    head = encode(method, path, [], [*headers, *framing])
    data = head.data
    if head.framing is Framing.UNDECIDED:
        data = head.chunked_data() if body == "undecided" else head.bodiless_data()
    chunks = chunk_header(5) + b"hello" + CHUNK_END + LAST_CHUNK
    request, content = read(data + {"none": b"", "length": b"hello"}.get(body, chunks))

    assert request.method == method.encode()
    assert unquote_to_bytes(request.target) == (path if path.startswith("/") else "/" + path).encode()
    received = [(name.decode(), value.decode()) for name, value in request.headers.raw_items()]
    assert received[0] == ("Host", "127.0.0.1:80")
    assert received[1 : 1 + len(headers)] == [(name, value.strip(" \t")) for name, value in headers]
    assert content == (b"" if body == "none" else b"hello")


@settings(max_examples=300)
@given(
    st.text("GET /:\r\n\0Aa:", max_size=8),
    st.text("/ \r\n\0#?%a:", max_size=12),
    st.lists(
        st.tuples(st.text("AHost-:\r\n ", max_size=6), st.text("a :\r\n\0\t\x0b5,chunked", max_size=12)), max_size=4
    ),
    st.booleans(),
)
def test_no_arguments_become_two_requests(method: str, target: str, headers: list[tuple[str, str]], raw: bool) -> None:
    try:
        if raw:
            head = encode_raw_request(method, target, headers, authority="x")
        else:
            head = encode(method, target, [(target, target)], headers)
    except ValueError:
        return
    blank = head.data.index(b"\r\n\r\n")
    assert blank == len(head.data) - 4
    lines = head.data[:blank].split(b"\r\n")
    assert lines[0].count(b" ") == 2
    assert len(lines) <= 2 + len(headers)
    assert not any(control in line for line in lines for control in (b"\r", b"\n", b"\0"))
    if head.framing is Framing.UNDECIDED:
        read(head.bodiless_data())
    elif head.length is None or head.length < 1000:
        read(head.data + (LAST_CHUNK if head.framing is Framing.CHUNKED else bytes(head.length or 0)))


_HOP_FIELDS = """
    Host: a.example|host: b|Host: a b|Connection: x-hop, te|connection: upgrade|X-Hop: 1|TE: trailers|te: gzip
    Upgrade: mine|Upgrade: h2c|Keep-Alive: 5|Content-Length: 5|content-length: 5|Content-Length: x|A:|A: b
    Transfer-Encoding: chunked|Transfer-Encoding: gzip|Expect: 100-continue|Trailer: x|Accept-Encoding: gzip
    Proxy-Authorization: x|Cookie: a=b
"""
_HOP_PAIRS = [tuple(field.strip().split(":")) for field in re.split(r"[|\n]", _HOP_FIELDS.strip())]
hop_fields = st.sampled_from([(name, value) for name, value in _HOP_PAIRS])


def outcome(encoded: Callable[[], RequestHead]) -> Any:
    """All that a head says, its lines in any order; None if it is refused."""
    try:
        head = encoded()
    except ValueError:
        return None
    start, *lines = head.data.decode().split("\r\n")
    return (
        start, sorted((line.partition(":")[0], line.partition(":")[2].strip()) for line in lines), head.framing,
        head.length, head.idempotent, head.is_head, head.host, head.protocols,
    )  # fmt: skip


@given(
    st.sampled_from(["GET", "POST", "HEAD", "CONNECT", "A B", "X-MINE"]),
    st.sampled_from(["/", "/a?b", "*", "x", "/a b", "/ü"]),
    st.lists(hop_fields, max_size=6),
    st.booleans(),
)
def test_lines_are_encoded_as_pairs_are(
    method: str, target: str, headers: list[tuple[str, str]], upgrade: bool
) -> None:
    lines = lines_of(headers)
    by_lines = outcome(lambda: encode_raw_lines(method, target, lines, authority="x", upgrade=upgrade))
    assert by_lines == outcome(lambda: encode_raw_request(method, target, headers, authority="x", upgrade=upgrade))


@given(st.binary(max_size=30) | st.text("Host: a\r\n\0").map(str.encode))
def test_no_lines_become_two_requests(block: bytes) -> None:
    for lines in (block, b"Host: a\r\n" + block, b"Host: a\r\nA: " + block + b"\r\n"):
        try:
            head = encode_raw_lines("GET", "/", lines, authority="x")
        except ValueError:
            continue
        assert head.data.index(b"\r\n\r\n") == len(head.data) - 4
        assert head.data.count(b"\n") == head.data.count(b"\r") == head.data.count(b"\r\n") <= lines.count(b"\r\n") + 3
        assert head.in_lines


def test_lines_are_bounded() -> None:
    assert encode_raw_lines("GET", "/", b"A: b\r\n" * REQUEST_FIELDS_MAX, authority="x").data
    with pytest.raises(ValueError, match="too many headers"):
        encode_raw_lines("GET", "/", b"A: b\r\n" * (REQUEST_FIELDS_MAX + 1), authority="x")
    with pytest.raises(ValueError, match="too large"):
        encode_raw_lines("GET", "/", b"Host: a\r\nA: " + b"x" * (REQUEST_HEAD_MAX - 16) + b"\r\n", authority="x")
    with pytest.raises(ValueError, match="too large"):
        encode_raw_lines("GET", "/", bytes(REQUEST_HEAD_MAX + 1), authority="x")
