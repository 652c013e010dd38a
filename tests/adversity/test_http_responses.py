"""Promise "HTTP towards jobs": a job's response is passed, replaced by a 502, or aborted, and affects no other.

The rows of ``tests/http1/test_response.py`` (each names its RFC section where one decides) and those below, played by a
real job through ``http_request``. Each is followed by a good request of the same job: a wrong answer there would be
that of a connection which should not have been kept.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.agent import Agent
from tests.http1.test_response import BAD, CL, END, GOOD, HELLO, OK, TE, Framing
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import BISTREAM, OSTREAM, Peer
from tests.kit.programs import serving, start_program

#: Answers a request for /N with row N of cases.json: bytes, and whether to close after them. /good is answered well.
PLAYER = serving("""
import json
with open("cases.json") as file:
    cases = json.load(file)
async def serve(reader, writer):
    try:
        while True:
            target = (await reader.readuntil(b"\\r\\n\\r\\n")).split(b" ")[1]
            if target == b"/good":
                answer, close = "HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\ngood", False
            else:
                answer, close = cases[int(target[1:])]
            writer.write(answer.encode("latin-1"))
            await writer.drain()
            if close:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
""")

CHUNKS = OK + TE + END
HI = CL + END + b"hello"
GZIP = b"Content-Encoding: GZip\r\n"
GZIPPED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(b"hello")), gzip.compress(b"hello"))
PART = b"HTTP/1.1 206 Partial Content\r\nContent-Encoding: gzip\r\nContent-Range: bytes "
PLAIN_PART = b"HTTP/1.1 206 x\r\nContent-Encoding: identity\r\nContent-Range: bytes 9-13/99\r\n"

#: Title, the response, whether the job closes after it; then status and body, None for an aborted body.
MORE: list[tuple[str, bytes, bool, int, bytes | None]] = [
    ("nothing at all", b"", True, 502, b""),
    ("9112 8: cut in the status line", b"HTTP/1.1 2", True, 502, b""),
    ("9112 8: cut in the head", OK + CL, True, 502, b""),
    ("9112 8: cut in the body", OK + CL + END + b"hell", True, 200, None),
    ("9112 8: cut before the body", OK + CL + END, True, 200, None),
    ("9112 8: cut in a chunk", OK + TE + END + b"5\r\nhel", True, 200, None),
    ("9112 8: cut before the last chunk", OK + TE + END + b"5\r\nhello\r\n", True, 200, None),
    ("9112 8: cut in the trailers", OK + TE + END + b"0\r\nA: b\r\n", True, 200, None),
    ("9112 8: cut after a 100", b"HTTP/1.1 100 Continue\r\n\r\n", True, 502, b""),
    ("trailers are not for such a caller", OK + TE + END + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", False, 200, b"hello"),
    ("9112 9.2: a second one after it", OK + CL + END + b"hello" + OK + CL + END + b"evil!", False, 200, b"hello"),
    ("a second response after chunks", OK + TE + END + HELLO + OK + CL + END + b"evil!", False, 200, b"hello"),
    ("a second response after a 204", b"HTTP/1.1 204 x\r\n\r\n" + OK + CL + END + b"evil!", False, 204, b""),
    ("9110 8.4.1: gzip", OK + b"Content-Encoding: gzip\r\n" + END + gzip.compress(b"hello"), True, 200, b"hello"),
    ("x-gzip", OK + b"Content-Encoding: x-gzip\r\n" + END + gzip.compress(b"hello"), True, 200, b"hello"),
    ("2 members", OK + b"Content-Encoding: gzip\r\n" + END + 2 * gzip.compress(b"a"), True, 200, b"aa"),
    ("deflate", OK + b"Content-Encoding: deflate\r\n" + END + zlib.compress(b"hello"), True, 200, b"hello"),
    ("identity", OK + b"Content-Encoding: identity\r\n" + CL + END + b"hello", False, 200, b"hello"),
    ("an unknown coding", OK + b"Content-Encoding: x-none\r\n" + CL + END + b"hello", False, 502, b""),
    ("three codings", OK + b"Content-Encoding: gzip, gzip, gzip\r\n" + CL + END + b"hello", False, 502, b""),
    ("gzip that is none", OK + b"Content-Encoding: gzip\r\n" + CL + END + b"hello", False, 200, None),
    ("gzip cut short", OK + b"Content-Encoding: gzip\r\n" + END + gzip.compress(b"hello" * 99)[:-9], True, 200, None),
    ("gzip and more", OK + b"Content-Encoding: gzip\r\n" + END + gzip.compress(b"a") + b"more", True, 200, b"a"),
    ("gzip of no length", OK + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n" + END, False, 200, b""),
    ("an unknown coding of nothing", OK + b"Content-Encoding: x-none\r\nContent-Length: 0\r\n" + END, False, 200, b""),
    ("9110 15.4.5: 304 with a coding", b"HTTP/1.1 304 x\r\nContent-Encoding: gzip\r\n" + CL + END, False, 304, b""),
    ("304 with an unknown coding", b"HTTP/1.1 304 x\r\nContent-Encoding: x-none\r\n" + END, False, 304, b""),
    ("204 with a coding", b"HTTP/1.1 204 x\r\nContent-Encoding: gzip\r\n" + END, False, 204, b""),
    ("9110 14.1.2: the start of gzip", PART + b"0-4/99\r\n" + END + gzip.compress(b"x" * 99)[:5], True, 502, b""),
    ("the middle of gzip", PART + b"9-13/99\r\n" + CL + END + b"hello", False, 502, b""),
    ("a part of what is plain", PLAIN_PART + CL + END + b"hello", False, 206, b"hello"),
    ("9112 7.1: gzip in chunks", OK + GZIP + TE + END + GZIPPED, False, 200, b"hello"),
    ("in two fields", OK + b"content-encoding: identity\r\n" + GZIP + TE + END + GZIPPED, False, 200, b"hello"),
    ("9112 7.1.1: extensions", CHUNKS + b'5;a="b;c";d\r\nhello\r\n0;e\r\n\r\n', False, 200, b"hello"),
    ("LF in an extension", CHUNKS + b"5;a\nb\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("an extension without end", CHUNKS + b"5;" + b"x" * 5000, False, 200, None),
    ("no size", CHUNKS + b"\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("size 0x5", CHUNKS + b"0x5\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("size +5", CHUNKS + b"+5\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("size -5", CHUNKS + b"-5\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("a blank before the size", CHUNKS + b" 5\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("blanks after the size", CHUNKS + b"5 \t\r\nhello\r\n0 \r\n\r\n", False, 200, b"hello"),
    ("size of 64 bits", CHUNKS + b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("size of 68 bits", CHUNKS + b"10000000000000005\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("size of 17 digits", CHUNKS + b"00000000000000005\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("a chunk beyond its size", CHUNKS + b"5\r\nhello!\r\n0\r\n\r\n", False, 200, None),
    ("a chunk below its size", CHUNKS + b"6\r\nhello\r\n0\r\n\r\n", False, 200, None),
    ("LF after a chunk", CHUNKS + b"5\r\nhello\n0\r\n\r\n", False, 200, None),
    ("LF after the last chunk", CHUNKS + b"5\r\nhello\r\n0\n\n", False, 200, None),
    ("9112 7.1.2: a folded trailer", CHUNKS + b"0\r\nA: b\r\n c\r\n\r\n", False, 200, None),
    ("NUL in a trailer", CHUNKS + b"0\r\nA: b\0\r\n\r\n", False, 200, None),
    ("a trailer without a name", CHUNKS + b"0\r\n: b\r\n\r\n", False, 200, None),
    ("trailers without end", CHUNKS + b"0\r\n" + b"A: b\r\n" * 5000, False, 200, None),
    ("9110 6.5.1: a trailer that frames", CHUNKS + HELLO[:-2] + CL + END, False, 200, b"hello"),
    ("9110 5.5: beyond ASCII", OK + b"A: \xc3\xbc\r\nB: \xff\xfe\r\n" + CL + END + b"hello", False, 200, b"hello"),
    ("9110 7.6.1: the length is named", OK + b"Connection: content-length\r\n" + HI, False, 200, b"hello"),
    ("9110 7.8: 426", b"HTTP/1.1 426 x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n" + HI, False, 426, b"hello"),
    ("9112 6.3: chunks for 204", b"HTTP/1.1 204 x\r\n" + TE + END + HELLO, False, 204, b""),
    ("205 with a body", b"HTTP/1.1 205 x\r\n" + CL + END + b"hello", False, 205, b"hello"),
    ("9112 6.3: a body for 103", b"HTTP/1.1 103 x\r\n" + HI + OK + HI, False, 502, b""),
    ("chunks for 100", b"HTTP/1.1 100 x\r\n" + TE + END + HELLO + OK + CL + END + b"hello", False, 502, b""),
    ("a hundred 103", b"HTTP/1.1 103 x\r\nLink: y\r\n\r\n" * 100 + OK + CL + END + b"hello", False, 200, b"hello"),
    ("100 of HTTP/1.0", b"HTTP/1.0 100 x\r\n\r\n" + OK + CL + END + b"hello", False, 200, b"hello"),
    ("a response within one", OK + END + OK + CL + END, True, 200, OK + CL + END),
    ("9112 2.2: HTTP/0.9", b"hello", True, 502, b""),
    ("another protocol", b"SSH-2.0-OpenSSH_9.2p1\r\n", False, 502, b""),
    ("TLS", b"\x15\x03\x01\x00\x02\x02\x46", True, 502, b""),
]  # fmt: skip


#: Answers to HEAD (RFC 9110 9.3.2, 9112 6.3): title, response, status. The job does not close after any.
HEADS: list[tuple[str, bytes, int]] = [
    ("a length", OK + CL + END, 200),
    ("chunks that would come", OK + TE + END, 200),
    ("both framings of what would come", OK + TE + CL + END, 200),
    ("no length", OK + END, 200),
    ("a coding", OK + b"Content-Encoding: br\r\n" + CL + END, 200),
    ("404", b"HTTP/1.1 404 x\r\n" + CL + END, 404),
    ("204", b"HTTP/1.1 204 x\r\n" + END, 204),
    ("a part", PART + b"9-13/99\r\n" + CL + END, 206),
    ("100 first", b"HTTP/1.1 100 x\r\n\r\n" + OK + CL + END, 200),
    ("a body all the same", OK + CL + END + b"hello", 200),
    ("chunks all the same", OK + TE + END + HELLO, 200),
    ("a second response", OK + CL + END + OK + CL + END + b"evil!", 200),
    ("lengths that differ", OK + CL + b"Content-Length: 6\r\n" + END, 502),
    ("a length that is none", OK + b"Content-Length: x\r\n" + END, 502),
    ("101", b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n" + END, 502),
]


def rows() -> list[tuple[str, bytes, bool, int, bytes | None]]:
    good = [(name, data, framing is Framing.UNTIL_CLOSE, status, body) for name, data, status, framing, _, body in GOOD]
    bad = [(name, data, False, 200 if seen else 502, None if seen else b"") for name, data, seen in BAD]
    return [*good, *bad, *MORE]


ROWS = rows()


def test_the_number_of_cases() -> None:
    assert len(ROWS) >= 190


@pytest.fixture
async def player(agent: Agent) -> AsyncIterator[tuple[Peer, str]]:
    async with peers.dial(agent.rpc_port, TOKEN) as peer:
        job = (await peer.call("job_create"))["uid"]
        upload = await peer.start(OSTREAM, "file_upload", job, "cases.json")
        answers = [(data, close) for _, data, close, _, _ in ROWS] + [(data, False) for _, data, _ in HEADS]
        cases = json.dumps([(data.decode("latin-1"), close) for data, close in answers]).encode()
        for start in range(0, len(cases), 65536):
            await peer.data(upload, cases[start : start + 65536])
        await peer.end(upload)
        await peer.outcome(upload)
        await peer.call("job_start", job, [sys.executable, "-c", PLAYER, "{port}"], {}, port="auto", ready="connect")
        yield peer, job


async def get(peer: Peer, job: str, target: str, method: str = "GET") -> tuple[list[Any], str | None]:
    """Return the stream messages, and the class name of the error."""
    call = await peer.start(BISTREAM, "http_request", job, method, target, [], [])
    await peer.data(call, b"")
    values: list[Any] = []
    while (message := await peer.next_of(call))[0] == 8:
        values.append(message[2])
    return values, None if message[4] is None else message[4][1]


async def test_every_response_is_passed_refused_or_aborted_and_affects_no_other(player: tuple[Peer, str]) -> None:
    peer, job = player
    wrong = []
    for number, (name, _, _, status, body) in enumerate(ROWS):
        values, error = await get(peer, job, f"/{number}")
        if status == 502:
            right = (values[:2], error) == ([502, []], None) and (len(values) == 2 or b"is encoded" in values[2])
        elif body is None:
            right = values[0] == status and values[-1] is False and error == "BrokenResponseError"
        else:
            right = (values[0], b"".join(values[2:]), error) == (status, body, None)
        good, error = await get(peer, job, "/good")
        if not right or (good[0], good[2:], error) != (200, [b"good"], None):
            wrong.append((name, values, error, good))
    assert wrong == []


async def test_the_response_to_head_has_no_body_and_affects_no_other(player: tuple[Peer, str]) -> None:
    peer, job = player
    wrong = []
    for number, (name, _, status) in enumerate(HEADS):
        values, error = await get(peer, job, f"/{len(ROWS) + number}", "HEAD")
        good, _ = await get(peer, job, "/good")
        if (values[0], len(values), error, good[2:]) != (status, 2, None, [b"good"]):
            wrong.append((name, values, error, good))
    assert wrong == []


async def test_interim_responses_without_end_are_a_502(peer: Peer) -> None:
    flood = serving("""
async def serve(reader, writer):
    try:
        while True:
            writer.write(b"HTTP/1.1 102 Processing\\r\\n\\r\\n" * 1000)
            await writer.drain()
    except ConnectionError:
        writer.close()
""")
    job = await start_program(peer, flood)
    assert await peer.http(job) == (502, [], [])


async def test_all_responses_at_once(player: tuple[Peer, str]) -> None:
    """Each connection gets its own responses."""
    peer, job = player
    calls = []
    for number in range(len(ROWS)):
        for target in (f"/{number}", "/good"):
            call = await peer.start(BISTREAM, "http_request", job, "GET", target, [], [])
            await peer.data(call, b"")
            calls.append(call)
    for row, asked, good in zip(ROWS, calls[::2], calls[1::2], strict=True):
        while (message := await peer.next_of(asked))[0] == 8:
            pass
        assert (message[4] is not None) is (row[4] is None), row[0]
        values, _ = await peer.outcome(good)
        assert (values[0], values[2:]) == (200, [b"good"]), row[0]
