"""Promise "HTTP towards jobs": no field of a caller's request begins another request, or is ambiguous.

Each row, with the section of RFC 9110 or 9112 that decides, is asked of a real job that returns what it got, and is
followed by a good request of the same job.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.kit.peer import CallFailed, Peer
from tests.kit.programs import ECHO, start_program

CL, TE = "Content-Length", "Transfer-Encoding"
CHUNKED = (TE, "chunked")

#: Title; method, path, query, headers, body; then the error's class name, or lines of the request that the job got.
ROWS: list[tuple[str, str, str, list[Any], list[Any], list[bytes], str | list[bytes]]] = [
    ("9110 9.3.6: CONNECT", "CONNECT", "/", [], [], [], "ValueError"),
    ("9110 9.1: CRLF in the method", "GET / HTTP/1.1\r\nA: b\r\n\r\nGET", "/", [], [], [], "ValueError"),
    ("9110 9.1: no method", "", "/", [], [], [], "ValueError"),
    ("9110 9.1: any token is a method", "M-SEARCH", "/", [], [], [], [b"M-SEARCH / HTTP/1.1"]),
    ("9112 3.2: CRLF in the path", "GET", "/ HTTP/1.1\r\nA: b", [], [], [], [b"GET /%20HTTP/1.1%0D%0AA:%20b HTTP/1.1"]),
    ("9112 3.2: CRLF in the query", "GET", "/", [["\r\n", "\0"]], [], [], [b"GET /?%0D%0A=%00 HTTP/1.1"]),
    ("9112 3.2.1: no slash", "GET", "a", [], [], [], [b"GET /a HTTP/1.1"]),
    ("9112 3.2.2: an absolute form is a path", "GET", "http://b/", [], [], [], [b"GET /http://b/ HTTP/1.1"]),
    ("3986 2.1: percent and fragment", "GET", "/%41?#", [], [], [], [b"GET /%2541%3F%23 HTTP/1.1"]),
    ("9110 5.5: CR LF in a value", "GET", "/", [], [["A", "b\r\nC: d"]], [], "ValueError"),
    ("9110 5.5: LF in a value", "GET", "/", [], [["A", "b\nC: d"]], [], "ValueError"),
    ("9110 5.5: NUL in a value", "GET", "/", [], [["A", "b\0"]], [], "ValueError"),
    ("9110 5.1: a blank in a name", "GET", "/", [], [["A ", "b"]], [], "ValueError"),
    ("9110 5.1: a colon in a name", "GET", "/", [], [["A: b\r\nC", "d"]], [], "ValueError"),
    ("9110 5.1: no name", "GET", "/", [], [["", "b"]], [], "ValueError"),
    ("9112 3.2: two Hosts", "GET", "/", [], [["Host", "a"], ["Host", "a"]], [], "ValueError"),
    ("9112 6.3: both framings", "POST", "/", [], [CHUNKED, (CL, "1")], [b"a"], "ValueError"),
    ("9112 6.1: another coding", "POST", "/", [], [(TE, "gzip, chunked")], [b"a"], "ValueError"),
    ("9112 6.1: chunked twice", "POST", "/", [], [CHUNKED, CHUNKED], [b"a"], "ValueError"),
    ("9110 8.6: two lengths", "POST", "/", [], [(CL, "1"), (CL, "2")], [b"a"], "ValueError"),
    ("9110 8.6: one length twice", "POST", "/", [], [(CL, "1"), (CL, "1")], [b"a"], [b"Content-Length: 1", b"a"]),
    ("9110 8.6: a sign", "POST", "/", [], [(CL, "+1")], [b"a"], "ValueError"),
    ("9110 8.6: other digits", "POST", "/", [], [(CL, "\u0661")], [b"a"], "ValueError"),
    ("9112 7.1: a chunk within a chunk", "POST", "/", [], [CHUNKED], [b"0\r\n\r\nGET /evil"], [b"GET /evil"]),
    ("9112 7.6.1: Connection cannot take the length", "POST", "/", [], [("Connection", CL), (CL, "1")], [b"a"], [b"a"]),
    ("9110 10.1.1: Expect", "POST", "/", [], [("Expect", "100-continue"), (CL, "1")], [b"a"], [b"a"]),
    ("9110 9.3.8: TRACE", "TRACE", "/", [], [], [], [b"TRACE / HTTP/1.1"]),
    ("9110 9.1: connect is no other method", "connect", "/", [], [], [], "ValueError"),
    ("9112 3.2.3: an authority form is a path", "GET", "b:80", [], [], [], [b"GET /b:80 HTTP/1.1"]),
    ("9112 3.2.4: an asterisk is a path", "OPTIONS", "*", [], [], [], [b"OPTIONS /* HTTP/1.1"]),
    ("9112 3.2.1: two slashes are no host", "GET", "//b/c", [], [], [], [b"GET //b/c HTTP/1.1", b"Host: JOB"]),
    ("9110 7.2: no Host is the port's", "GET", "/", [], [], [], [b"Host: JOB"]),
    ("9112 5.2: a fold in a value", "GET", "/", [], [["A", "b\r\n c"]], [], "ValueError"),
    ("9110 5.5: a control in a value", "GET", "/", [], [["A", "b\x01"]], [], "ValueError"),
    ("9110 5.5: DEL in a value", "GET", "/", [], [["A", "b\x7f"]], [], "ValueError"),
    ("9110 5.5: CR in the Host", "GET", "/", [], [["Host", "a\rb"]], [], "ValueError"),
    ("9110 5.5: beyond ASCII in a value", "GET", "/", [], [["X-A", "ü\t"]], [], ["X-A: ü".encode()]),
    ("9110 5.1: beyond ASCII in a name", "GET", "/", [], [["Ü", "b"]], [], "ValueError"),
    ("9110 5.1: NUL in a name", "GET", "/", [], [["A\0", "b"]], [], "ValueError"),
    ("9110 5.1: a pseudo field of HTTP/2", "GET", "/", [], [[":authority", "b"]], [], "ValueError"),
    ("9112 6.3: a length in Transfer-Encoding's place", "POST", "/", [], [(TE, "5")], [b"a"], "ValueError"),
    ("9112 6.1: chunked with a vertical tab", "POST", "/", [], [(TE, "\x0bchunked")], [b"a"], "ValueError"),
    ("9112 6.1: a body for GET", "GET", "/", [], [(CL, "1")], [b"a"], [b"Content-Length: 1", b"a"]),
    ("9112 6.1: chunks of nothing", "GET", "/", [], [CHUNKED], [], [b"Transfer-Encoding: chunked"]),
    ("9110 8.6: an empty length", "POST", "/", [], [(CL, "")], [], "ValueError"),
    ("9110 8.6: a length of 64 bits", "POST", "/", [], [(CL, "9223372036854775808")], [], "ValueError"),
    ("9110 7.6.1: Connection cannot take the Host", "GET", "/", [], [("Connection", "Host")], [], [b"Host: JOB"]),
    ("headers that are no pairs", "GET", "/", [], ["abc"], [], "ValueError"),
    ("a head above 64 KiB", "GET", "/", [], [["A", "b" * 70000]], [], "ValueError"),
]  # fmt: skip


async def test_every_request_is_sent_as_one_or_refused_and_affects_no_other(peer: Peer) -> None:
    job = await start_program(peer, ECHO)
    wrong = []
    for name, method, path, query, headers, body, expected in ROWS:
        got: Any
        try:
            got = lines_of(await peer.http(job, method, path, query, headers, body))
        except CallFailed as failed:
            got = failed.cause
        right = got == expected if isinstance(expected, str) else all(line in got for line in expected)
        good = b"".join((await peer.http(job, "GET", "/good"))[2])
        if not right or not good.startswith(b"GET /good HTTP/1.1\r\n"):
            wrong.append((name, got, good))
    assert wrong == []


#: Of ``raw=True``, which takes a target as it is on the wire: title, method, target, as above.
RAW: list[tuple[str, str, str, str | bytes]] = [
    ("9112 3.2.1: the origin form", "GET", "/%2f..//?a", b"GET /%2f..//?a HTTP/1.1"),
    ("9112 3.2.1: empty", "GET", "", "ValueError"),
    ("9112 3.2.1: no slash", "GET", "a", "ValueError"),
    ("9112 3.2.2: the absolute form", "GET", "http://b/", "ValueError"),
    ("9112 3.2.3: the authority form", "GET", "b:80", "ValueError"),
    ("9110 9.3.6: CONNECT", "CONNECT", "b:80", "ValueError"),
    ("9112 3.2.4: the asterisk form", "OPTIONS", "*", b"OPTIONS * HTTP/1.1"),
    ("9112 3.2.4: of another method", "GET", "*", "ValueError"),
    ("9110 4.2.5: a fragment", "GET", "/a#b", "ValueError"),
    ("9112 3.2: a blank", "GET", "/a b", "ValueError"),
    ("9112 3.2: a tab", "GET", "/a\tb", "ValueError"),
    ("9112 11.1: CRLF", "GET", "/ HTTP/1.1\r\nA: b\r\n\r\nGET /", "ValueError"),
    ("9112 2.2: LF", "GET", "/\n", "ValueError"),
    ("3986 2: beyond ASCII", "GET", "/ü", "GET /ü HTTP/1.1".encode()),
]


async def test_a_raw_target_is_sent_unchanged_or_refused_and_affects_no_other(peer: Peer) -> None:
    job = await start_program(peer, ECHO)
    wrong = []
    for name, method, target, expected in RAW:
        got: Any
        try:
            got = lines_of(await peer.http(job, method, target, raw=True))[0]
        except CallFailed as failed:
            got = failed.cause
        good = lines_of(await peer.http(job, "GET", "/good"))[0]
        if (got, good) != (expected, b"GET /good HTTP/1.1"):
            wrong.append((name, got, good))
    assert wrong == []


def lines_of(answer: tuple[int, list[list[str]], list[Any]]) -> list[bytes]:
    """Return the request that the job got, line by line."""
    return re.sub(rb"127\.0\.0\.1:\d+", b"JOB", b"".join(answer[2])).split(b"\r\n")


async def test_a_body_longer_than_its_length_begins_no_other_request(peer: Peer) -> None:
    job = await start_program(peer, ECHO)
    for _ in range(5):
        with pytest.raises(CallFailed, match="longer than its Content-Length"):
            await peer.http(job, "POST", "/", [], [(CL, "1")], [b"aGET /evil HTTP/1.1\r\n\r\n"])
        assert b"".join((await peer.http(job, "GET", "/good"))[2]).startswith(b"GET /good HTTP/1.1\r\n")
