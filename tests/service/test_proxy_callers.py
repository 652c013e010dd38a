"""Responses for callers of each kind: old routers, peers with extensions, and raw callers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pagent.agent import Agent
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import CallFailed, Peer
from tests.kit.programs import serving, start_closed_program, start_program

#: Answers with the bytes that its path holds in hexadecimal; PORT stands for its port.
PLAYER = serving("""
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            answer = bytes.fromhex(head.split(b" ")[1][1:].decode())
            writer.write(answer.replace(b"PORT", sys.argv[1].encode()))
            await writer.drain()
            if b"CLOSE" in answer:
                writer.close()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
""")

OK = b"HTTP/1.1 200 OK\r\n"


class Both:
    """A job that plays answers, and a peer of each kind; both are one owner, by the uid of theirs."""

    def __init__(self, field: Peer, ours: Peer, jobs: dict[str, str]) -> None:
        self.peers = {"field": field, "ours": ours, "raw": ours}
        self.jobs = jobs

    async def play(self, kind: str, answer: bytes, method: str = "GET", **options: Any) -> tuple[int, Any, bytes]:
        if kind == "raw":
            options["raw"] = True
        peer = self.peers[kind]
        job = self.jobs["field" if kind == "field" else "ours"]
        status, fields, body = await peer.http(job, method, "/" + answer.hex(), **options)
        return status, fields, b"".join(piece for piece in body if isinstance(piece, bytes))


@pytest.fixture
async def both(agent: Agent) -> AsyncIterator[Both]:
    async with AsyncExitStack() as stack:
        field = await stack.enter_async_context(peers.dial(agent.rpc_port, TOKEN, uid="field"))
        ours = await stack.enter_async_context(peers.dial(agent.rpc_port, TOKEN, uid="ours", extensions=["flow"]))
        jobs = {"field": await start_program(field, PLAYER), "ours": await start_program(ours, PLAYER)}
        yield Both(field, ours, jobs)


NAMES = (
    b"content-type: a\r\nCONTENT-LENGTH: 2\r\netag: b\r\nwww-authenticate: c\r\nx-my-own: d\r\nx-xss-protection: 0\r\n"
)


async def test_names_are_spelt_as_usual_for_old_routers_only(both: Both) -> None:
    answer = OK + NAMES + b"\r\nhi"
    given = [line.split(b": ")[0].decode() for line in NAMES.splitlines()]
    for _ in range(3):  # no kind of caller gets the form of another one
        assert [name for name, _ in (await both.play("field", answer))[1]] == [
            "Content-Type", "Content-Length", "ETag", "WWW-Authenticate", "X-My-Own", "X-XSS-Protection",
        ]  # fmt: skip
        for kind in ("ours", "raw"):
            assert [name for name, _ in (await both.play(kind, answer))[1]] == given


@pytest.mark.parametrize("status", [204, 304])
async def test_a_bodiless_response_has_a_length_for_old_routers(both: Both, status: int) -> None:
    empty = b"HTTP/1.1 %d x\r\nx-a: 1\r\n\r\n" % status
    assert await both.play("field", empty) == (status, [["X-A", "1"], ["Content-Length", "0"]], b"")
    assert await both.play("ours", empty) == (status, [["x-a", "1"]], b"")
    own = b"HTTP/1.1 304 x\r\ncontent-length: 1234\r\n\r\n"
    assert await both.play("field", own) == (304, [["Content-Length", "1234"]], b"")


async def test_head_keeps_the_length_of_the_job(both: Both) -> None:
    for coding in (b"", b"Content-Encoding: gzip\r\n"):
        answer = OK + b"content-length: 1234\r\n" + coding + b"\r\n"
        assert await both.play("field", answer, "HEAD") == (200, [["Content-Length", "1234"]], b"")
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    assert await both.play("field", chunked, "HEAD") == (200, [["Content-Length", "0"]], b"")
    assert await both.play("ours", chunked, "HEAD") == (200, [], b"")


@pytest.mark.parametrize("coding", ["utf-8", "none", "binary", "8bit", "identity"])
async def test_what_is_no_coding_is_none(both: Both, coding: str) -> None:
    answer = OK + f"Content-Encoding: {coding}\r\nContent-Length: 2\r\nAccept-Ranges: bytes\r\n\r\nhi".encode()
    kept = [["Content-Length", "2"], ["Accept-Ranges", "bytes"]]
    assert await both.play("field", answer) == (200, kept, b"hi")
    assert await both.play("ours", answer) == (200, kept, b"hi")
    assert (await both.play("raw", answer))[1][0] == ["Content-Encoding", coding]


async def test_a_coding_that_cannot_be_undone_is_a_502_that_says_so(both: Both) -> None:
    answer = OK + b"Content-Encoding: snappy\r\nContent-Length: 2\r\n\r\nhi"
    status, fields, body = await both.play("field", answer)
    assert (status, fields) == (502, [])
    assert b"'snappy'" in body
    status, fields, body = await both.play("ours", answer)
    assert (status, fields[0][0]) == (502, "Content-Type")
    assert b"'snappy'" in body
    assert (await both.play("raw", answer))[2] == b"hi"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"CLOSE", b"HTTP/1."),
        (b"SSH-2.0-x\r\n", b"HTTP/1."),
        (b"HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n", b"101"),
        (OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"Transfer-Encoding and Content-Length"),
        (OK + b"Content-Encoding: gzip\r\nContent-Range: bytes 1-2/3\r\n\r\nx".replace(b"200", b"206"), None),
    ],
)  # fmt: skip
async def test_every_502_says_why_to_peers_of_ours(both: Both, answer: bytes, reason: bytes | None) -> None:
    if reason is None:
        answer, reason = answer.replace(b"200 OK", b"206 x"), b"a part of an encoded body"
    assert await both.play("field", answer) == (502, [], b"")
    for kind in ("ours", "raw") if reason != b"a part of an encoded body" else ("ours",):
        status, fields, body = await both.play(kind, answer)
        assert status == 502
        assert fields == [["Content-Type", "text/plain; charset=utf-8"], ["Content-Length", str(len(body))]]
        assert body.startswith(b"502 Bad Gateway: ")
        assert reason in body
        assert body.count(b"\n") == 1
        assert (await both.play(kind, answer, "HEAD"))[2] == b""


async def test_a_port_without_a_listener_is_a_502_with_the_reason(both: Both) -> None:
    ours = both.peers["ours"]
    status, _, body = await ours.http(
        await start_closed_program(ours), "POST", "/", [], [["Content-Length", "1"]], [b"x"]
    )
    assert status == 502
    assert b"does not accept a connection" in body[0]
    field = both.peers["field"]
    assert await field.http(await start_closed_program(field)) == (502, [], [])


async def test_references_to_the_jobs_own_port_are_local(both: Both) -> None:
    fields = [
        b"location: http://localhost:PORT/a?b", b"Content-Location: http://127.0.0.1:PORT/c",
        b"refresh: 5; url=http://app.example:PORT/d", b"Link: <http://localhost:PORT/e>", b"X-Location: http://localhost:PORT/",
    ]  # fmt: skip
    answer = b"\r\n".join([b"HTTP/1.1 302 x", *fields, b"Content-Length: 0", b"", b""])
    for _ in range(2):
        for kind in ("field", "ours", "raw"):
            got = await both.play(kind, answer, headers=[["Host", "App.example:8443"]])
            assert [value for _, value in got[1][:3]] == ["/a?b", "/c", "5; url=/d"]
            assert all("localhost" in value for _, value in got[1][3:5])
        other = await both.play("ours", answer, headers=[["Host", "elsewhere.example"]])
        assert other[1][2][1].startswith("5; url=http://app.example:")


async def test_a_host_that_is_none_is_the_callers_fault(both: Both) -> None:
    ours = both.peers["ours"]
    for host in ("a\u00a0b", "a b", "a/b", "a\\b", "ü", "a@b?"):
        for options in ({}, {"raw": True}):
            with pytest.raises(CallFailed) as failed:
                await ours.http(both.jobs["ours"], headers=[["Host", host]], **options)
            assert failed.value.cause == "ValueError"
    for host in ("", "a_b.example:80", "[::1]:8", "xn--tda.example"):
        assert (await both.play("ours", OK + b"Content-Length: 0\r\n\r\n", headers=[["Host", host]]))[0] == 200
