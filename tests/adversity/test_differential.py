"""Promise "Transparent" (docs/router.rst, "Job traffic"): router and agent together pass requests on unchanged.

Requests and answers are generated, sent as raw bytes in any pieces, and compared with the raw bytes that arrive at the
other end. The expectation is written down here once more, from the contract: which fields each hop drops or adds. After
each exchange the same connection carries another one, which a fault in the framing would spoil.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.adversity.test_http_responses import HEADS, ROWS
from tests.kit.peer import PATIENCE_S
from tests.kit.programs import serving

Fields = list[tuple[bytes, bytes]]

#: Answers a request with X-Play with the bytes of its body, and any other with what it got: the lengths of head and
#: body, the head, the body, the trailers.
JOB = serving(r"""
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = {n.lower(): v.strip() for n, _, v in (f.partition(b":") for f in head.split(b"\r\n")[1:-2])}
            body, trailers = b"", b""
            if fields.get(b"transfer-encoding") == b"chunked":
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                while (line := await reader.readline()) != b"\r\n":
                    trailers += line
            else:
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
            got = b"%d %d " % (len(head), len(body)) + head + body + trailers
            if b"\r\nX-Play: 1\r\n" in head:
                writer.write(body)
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(got) + got)
            await writer.drain()
            if b"\r\nX-Close: 1\r\n" in head:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
""")


class Way(NamedTuple):
    """The way to the job: the port of the router, and where the job's targets begin."""

    port: int
    prefix: bytes


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    folder = tmp_path_factory.mktemp("differential")
    options = ["--set", "identity.uid='R'", "--with-agent", "--", sys.executable, "-c", JOB, "{port}"]
    command = [sys.executable, "-m", "pagent", "route", *options]
    env = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=folder, env=env, text=True) as router:
        assert router.stderr is not None
        lines = []
        for line in router.stderr:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)(/jobs/\S+/http)/ forwards", line):
                break
        assert found is not None, "".join(lines)
        try:
            yield Way(int(found[1]), found[2].encode())
        finally:
            router.terminate()
            router.stderr.read()
            assert router.wait(PATIENCE_S) == 0
    assert not list(Path(folder).iterdir())


# --- generated requests -----------------------------------------------------------------------------

TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
TEXT = bytes([*range(0x21, 0x7F), *range(0x80, 0x100)])


def bytes_of(alphabet: bytes, least: int, most: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(alphabet), min_size=least, max_size=most).map(bytes)


tokens = bytes_of(TOKEN, 1, 12)
words = bytes_of(TEXT, 0, 12)
values = st.lists(words, max_size=4).map(b" \t".join).map(lambda value: value.strip(b" \t"))
UNKNOWN = (b"X-Forwarded-Fort", b"HTTP2-Settings-Not")
#: Fields that mean something to a hop, or to no hop although they look like it.
KNOWN = [
    *(b"Accept", b"accept-encoding", b"Authorization", b"Cache-Control", b"Content-Type", b"Cookie", b"From"),
    *(b"If-None-Match", b"Keep-Alive", b"Max-Forwards", b"Origin", b"Pragma", b"Proxy-Authorization", b"Range"),
    *(b"Proxy-Connection", b"Referer", b"User-Agent", b"Via", b"X-Forwarded-For", b"x_forwarded_host", b"FORWARDED"),
    *(b"X-Real-IP", b"X_Real_Ip", b"X-Pagent-Token", b"x_pagent_x", b"Content-Encoding", b"Date", b"Sec-Fetch-Site"),
    *(*UNKNOWN, b"Warning", b"Link", b"Content-Language", b"traceparent"),
]
names = st.one_of(st.sampled_from(KNOWN), tokens)
#: Names that frame, route or upgrade, or that are made only together with others.
SEPARATE = {
    *(b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te", b"trailer"),
    *(b"x-request-id", b"x-close", b"x-play", b"location", b"content-location", b"refresh"),
}
fields = st.lists(st.tuples(names.filter(lambda name: name.lower() not in SEPARATE), values), max_size=8)
methods = st.one_of(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"get"]), tokens)
methods = methods.filter(lambda method: method.upper() not in (b"HEAD", b"CONNECT"))
targets = bytes_of(TEXT.replace(b"#", b""), 0, 30)
bodies = st.one_of(st.binary(max_size=40), st.integers(0, 200_000).map(lambda size: b"x" * size))


class Chunks(NamedTuple):
    """A body in chunks, as on the wire, and its content."""

    data: bytes
    wire: bytes
    trailers: Fields


@st.composite
def chunked(draw: st.DrawFn) -> Chunks:
    pieces = draw(st.lists(st.binary(min_size=1, max_size=60), max_size=5))
    trailers = draw(st.lists(st.tuples(tokens.map(lambda name: b"X-" + name), values), max_size=2))
    extension = draw(st.sampled_from([b"", b";a=b", b';a="b"']))
    wire = b"".join([b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces])
    wire += b"0\r\n" + b"".join([b"%s: %s\r\n" % pair for pair in trailers]) + b"\r\n"
    return Chunks(b"".join(pieces), wire, trailers)


framings = st.one_of(st.none(), bodies, chunked())
cuts = st.lists(st.integers(0, 400), max_size=4)


# --- expected requests ------------------------------------------------------------------------------

HOP = {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization"}
FORWARDED = {
    *(b"forwarded", b"x-real-ip", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port"),
    *(b"x-forwarded-prefix", b"x-forwarded-proto"),
}


def passes(name: bytes) -> bool:
    """Return whether a field of a request is passed to the job unchanged."""
    dashed = name.lower().replace(b"_", b"-")
    return name.lower() not in HOP and dashed not in FORWARDED and not dashed.startswith(b"x-pagent-")


def lines_of(head: bytes) -> tuple[bytes, Fields]:
    start, *lines = head.split(b"\r\n")
    pairs = [line.partition(b":") for line in lines if line]
    return start, [(name, value.strip(b" \t")) for name, _, value in pairs]


# --- requests ---------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(methods, targets, fields, framings, st.sampled_from([None, *KNOWN]), cuts)
@example(b"GET", b"", [(b"X-A", b"\xe9"), (b"X-B", b"\xc3\xa9")], None, None, [])
def test_a_request_reaches_the_job_as_it_was_sent(
    way: Way,
    method: bytes,
    target: bytes,
    sent: Fields,
    body: bytes | Chunks | None,
    named: bytes | None,
    cut: list[int],
) -> None:
    head = [(b"Host", b"h.example:1"), *sent]
    if named is not None:
        head.append((b"Connection", b"keep-alive, " + named))
    if isinstance(body, Chunks):
        head.append((b"Transfer-Encoding", b"chunked"))
    elif body is not None:
        head.append((b"Content-Length", b"%d" % len(body)))
    start = b"%s %s/%s HTTP/1.1\r\n" % (method, way.prefix, target)
    request = start + b"".join([b"%s:  %s \r\n" % pair for pair in head]) + b"\r\n"
    request += body.wire if isinstance(body, Chunks) else body or b""
    got, data, trailers = parts_of(asked(way, request, cut))
    line, found = lines_of(got)
    assert line == b"%s /%s HTTP/1.1" % (method, target)
    assert found[0] == (b"Host", b"h.example:1")
    ours = [pair for pair in found if not passes(pair[0]) or pair[0] == b"X-Request-Id"]
    assert [name for name, _ in ours] == [
        *(b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Forwarded-Port", b"X-Real-Ip"),
        *(b"X-Forwarded-Prefix", b"X-Request-Id"),
    ]
    assert [value for _, value in ours[:-1]] == [b"127.0.0.1", b"h.example:1", b"http", b"1", b"127.0.0.1", way.prefix]
    # A request with a method that has a meaning for bodies announces that there is none.
    framing = [pair for pair in found if pair[0] in (b"Content-Length", b"Transfer-Encoding")]
    if isinstance(body, Chunks):
        assert framing == [(b"Transfer-Encoding", b"chunked")]
        assert data == body.data
        expected = [pair for pair in body.trailers if passes(pair[0])]
        assert lines_of(b"\r\n" + trailers)[1] == expected
    elif body is not None:
        assert (framing, data) == ([(b"Content-Length", b"%d" % len(body))], body)
    else:
        assert (framing in ([], [(b"Content-Length", b"0")]), data) == (True, b"")
    rest = [pair for pair in found[1:] if pair not in ours and pair not in framing]
    # Connection takes away only a field that has no known meaning.
    taken = named.lower() if named in UNKNOWN else None
    assert rest == [pair for pair in sent if passes(pair[0]) and pair[0].lower() != taken]


def asked(way: Way, request: bytes, cut: list[int]) -> bytes:
    """Send a request in pieces, and another one after it; return the first as the job got it."""
    follow = b"GET %s/follow HTTP/1.1\r\nHost: f\r\n\r\n" % way.prefix
    with socket.create_connection(("127.0.0.1", way.port), PATIENCE_S) as client, client.makefile("rb") as read:
        send(client, request + follow, cut)
        first = answer_of(read, b"GET").body
        second = answer_of(read, b"GET").body
    assert parts_of(second)[0].startswith(b"GET /follow HTTP/1.1\r\nHost: f\r\n")
    return first


def parts_of(got: bytes) -> tuple[bytes, bytes, bytes]:
    """Return head, body and trailers of the request that the job got."""
    head_length, body_length, rest = got.split(b" ", 2)
    at, end = int(head_length), int(head_length) + int(body_length)
    return rest[:at], rest[at:end], rest[end:]


def send(client: socket.socket, data: bytes, cut: list[int]) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    at = 0
    for size in cut:
        client.sendall(data[at : at + size])
        at += size
    client.sendall(data[at:])


class Answer(NamedTuple):
    status: int
    fields: Fields
    body: bytes
    trailers: Fields


def answer_of(read: object, method: bytes) -> Answer:
    """Read one answer, an interim one included."""
    readline, take = read.readline, read.read  # type: ignore[attr-defined]
    lines = []
    while (line := readline()) not in (b"\r\n", b""):
        assert line.endswith(b"\r\n")
        lines.append(line[:-2])
    assert lines, "no answer"
    start, found = lines_of(b"\r\n".join(lines))
    version, status, _ = start.split(b" ", 2)
    assert version == b"HTTP/1.1"
    known = {name.lower(): value for name, value in found}
    body, trailers = b"", b"\r\n"
    if method == b"HEAD" or int(status) in (204, 304) or int(status) < 200:
        pass
    elif known.get(b"transfer-encoding") == b"chunked":
        while size := int(readline(), 16):
            body += take(size)
            assert take(2) == b"\r\n"
        while (line := readline()) != b"\r\n":
            trailers += line
    else:
        body = take(int(known[b"content-length"]))
        assert len(body) == int(known[b"content-length"])
    return Answer(int(status), found, body, lines_of(trailers)[1])


# --- answers ----------------------------------------------------------------------------------------

STATUSES = [200, 201, 203, 206, 299, 300, 301, 400, 401, 404, 418, 429, 451, 500, 502, 503, 599]
#: Fields of an answer that are of one hop.
ANSWER_HOP = {*HOP, b"transfer-encoding", b"te", b"upgrade"}
UNTIL_CLOSE = object()
answer_framings = st.one_of(st.just(UNTIL_CLOSE), bodies, chunked())


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(STATUSES),
    st.lists(st.tuples(names.filter(lambda name: name.lower() not in SEPARATE), values), max_size=8),
    answer_framings,
    st.lists(st.tuples(st.sampled_from([102, 103]), fields), max_size=2),
    st.booleans(),
    cuts,
)
def test_an_answer_reaches_the_client_as_it_was_sent(
    way: Way,
    status: int,
    sent: Fields,
    body: bytes | Chunks | object,
    interim: list[tuple[int, Fields]],
    old: bool,
    cut: list[int],
) -> None:
    head = list(sent)
    version = b"HTTP/1.0" if old and not isinstance(body, Chunks) else b"HTTP/1.1"
    if isinstance(body, Chunks):
        head.append((b"Transfer-Encoding", b"chunked"))
        written, data, trailers = body.wire, body.data, body.trailers
    elif isinstance(body, bytes):
        head.append((b"Content-Length", b"%d" % len(body)))
        written, data, trailers = body, body, []
    else:
        written, data, trailers = b"until the end", b"until the end", []
    played = b"".join([encoded(b"HTTP/1.1 %d x" % number, pairs) for number, pairs in interim])
    played += encoded(b"%s %d Any reason" % (version, status), head) + written
    close = b"X-Close: 1\r\n" if body is UNTIL_CLOSE else b""
    request = play(way, b"POST", played, close)
    follow = b"GET %s/follow HTTP/1.1\r\nHost: f\r\n\r\n" % way.prefix
    with socket.create_connection(("127.0.0.1", way.port), PATIENCE_S) as client, client.makefile("rb") as read:
        send(client, request + follow, cut)
        for number, pairs in interim:
            early = answer_of(read, b"POST")
            assert (early.status, early.fields) == (number, passed_on(pairs))
        answer = answer_of(read, b"POST")
        assert parts_of(answer_of(read, b"GET").body)[0].startswith(b"GET /follow HTTP/1.1\r\n")
    expected = passed_on(sent)
    if isinstance(body, bytes):
        expected.append((b"Content-Length", b"%d" % len(body)))
    else:
        expected.append((b"Transfer-Encoding", b"chunked"))
    assert (answer.status, answer.fields, answer.trailers) == (status, expected, trailers)
    assert answer.body == data


def play(way: Way, method: bytes, played: bytes, fields: bytes = b"") -> bytes:
    """A request that the job answers with these bytes."""
    start = b"%s %s/ HTTP/1.1\r\nHost: h\r\nX-Play: 1\r\n%s" % (method, way.prefix, fields)
    return start + b"Content-Length: %d\r\n\r\n" % len(played) + played


def encoded(start: bytes, pairs: Fields) -> bytes:
    return start + b"\r\n" + b"".join([b"%s:\t%s \r\n" % pair for pair in pairs]) + b"\r\n"


def passed_on(pairs: Fields) -> Fields:
    return [(name, value) for name, value in pairs if name.lower() not in ANSWER_HOP]


#: What an agent does to an answer that is not for a RAW caller: it decodes the body. Here that body goes on as it is.
DECODED = re.compile(rb"\r\nContent-Encoding: (?!identity)", re.IGNORECASE)


def test_all_answers_of_the_agents_cases(way: Way) -> None:
    """The cases that the tests of an agent have for one, each followed by a good request."""
    wrong = []
    for name, data, close, status, body in ROWS:
        got = played_through(way, b"POST", data, close=close)
        if DECODED.search(data) and got is not None:
            right = got.status in (200, 204, 206, 304)
        elif body is None:  # an answer of which no byte was sent is 502
            right = got is None or got.status == 502
        else:
            right = got is not None and got.status == status and (status == 502 or got.body == body)
        if not right:
            wrong.append((name, got))
    for name, data, status in HEADS:
        got = played_through(way, b"HEAD", data, close=False)
        if got is None or (got.status, got.body) != (status, b""):
            wrong.append((name, got))
    assert wrong == []


def played_through(way: Way, method: bytes, data: bytes, *, close: bool) -> Answer | None:
    """Return the final answer to a request that the job answers with ``data``; None if it is cut off."""
    with socket.create_connection(("127.0.0.1", way.port), PATIENCE_S) as client, client.makefile("rb") as read:
        client.sendall(play(way, method, data, b"X-Close: 1\r\n" if close else b""))
        try:
            answer = answer_of(read, method)
            while answer.status < 200:
                answer = answer_of(read, method)
        except (AssertionError, ValueError, ConnectionError):
            answer = None
    assert parts_of(asked(way, b"GET %s/good HTTP/1.1\r\nHost: h\r\n\r\n" % way.prefix, []))[1:] == (b"", b"")
    return answer


@pytest.mark.parametrize("status", [200, 204, 304])
def test_answers_without_a_body(way: Way, status: int) -> None:
    """To HEAD, and by their status; their length is the job's."""
    method = "HEAD" if status == 200 else "POST"
    connection = http.client.HTTPConnection("127.0.0.1", way.port, timeout=PATIENCE_S)
    played = b"HTTP/1.1 %d x\r\nETag: x\r\n\r\n" % status
    connection.request(method, f"{way.prefix.decode()}/", body=played, headers={"Host": "h", "X-Play": "1"})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (status, b"")
    connection.request("GET", f"{way.prefix.decode()}/follow", headers={"Host": "h"})
    assert parts_of(connection.getresponse().read())[0].startswith(b"GET /follow")
    connection.close()


def test_the_info_of_the_job_is_json(way: Way) -> None:
    """The API on the same port, by the same client, between two requests to the job."""
    connection = http.client.HTTPConnection("127.0.0.1", way.port, timeout=PATIENCE_S)
    connection.request("GET", way.prefix.decode().removesuffix("/http") + "/info")
    assert json.loads(connection.getresponse().read())["state"] == "RUNNING"
    connection.close()
