"""``http_request(raw=True)``: the wire as it is, interim responses, and upgrades to other protocols."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.limits import PORT_HIGH_WATER
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import BISTREAM, PATIENCE_S, CallFailed, Peer
from tests.kit.programs import ECHO, serving, start_program

#: A server whose path names its behaviour.
SERVER = serving("""
import json, socket, struct
made = resets = 0
released = asyncio.Event()

async def serve(reader, writer):
    global made, resets
    made += 1
    try:
        while True:
            await one(reader, writer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        resets += type(error) is ConnectionResetError
        writer.close()

async def one(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    path = head.split(b" ")[1].decode()
    if path in ("/made", "/resets"):
        body = str(made if path == "/made" else resets).encode()
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    elif path == "/interim":
        writer.write(b"HTTP/1.1 102 x\\r\\n\\r\\nHTTP/1.1 103 x\\r\\nlink: y\\r\\n\\r\\n"
                     b"HTTP/1.1 104 x\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
    elif path == "/expect":
        assert b"Expect: 100-continue" in head
        writer.write(b"HTTP/1.1 100 Continue\\r\\n\\r\\n")
        body = await reader.readexactly(3)
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\n" + body.upper())
    elif path == "/silent-expect":  # sends no 100, and waits for the body
        body = await reader.readexactly(3)
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\n" + body.upper())
    elif path == "/refuse":
        writer.write(b"HTTP/1.1 417 x\\r\\nContent-Length: 0\\r\\n\\r\\n")
        await reader.readexactly(3)
    elif path == "/trailers":
        writer.write(b"HTTP/1.1 200 OK\\r\\ntrailer: x-sum\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
                     b"2\\r\\nhi\\r\\n0\\r\\nx-sum: 1\\r\\n\\r\\n")
    elif path == "/broken":
        writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nhi\\r\\nx")
    elif path == "/two":
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nab")
        await writer.drain()
        await released.wait()
        writer.write(b"cd")
    elif path == "/release":
        released.set()
        writer.write(b"HTTP/1.1 204 x\\r\\n\\r\\n")
    elif path == "/long":
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 20000\\r\\n\\r\\n" + bytes(20000))
    elif path == "/426":
        writer.write(b"HTTP/1.1 426 x\\r\\nContent-Length: 2\\r\\n\\r\\nno")
    elif path == "/other":
        writer.write(b"HTTP/1.1 101 x\\r\\nConnection: Upgrade\\r\\nUpgrade: other\\r\\n\\r\\n")
        await reader.read()
    elif path == "/echo":  # sends first, then echoes, then ends its direction
        assert b"\\r\\nConnection: Upgrade\\r\\n" in head, head
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 101 x\\r\\nconnection: Upgrade\\r\\nupgrade: Mine/2\\r\\nx-a: 1\\r\\n\\r\\nfirst")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write(b"last")
        writer.write_eof()
        await reader.read()
        raise ConnectionError
    elif path == "/reset":
        writer.write(b"HTTP/1.1 101 x\\r\\nUpgrade: mine\\r\\n\\r\\n")
        await writer.drain()
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
""")

UPGRADE = [["Connection", "keep-alive, Upgrade"], ["Upgrade", "other, mine/2"]]


@pytest.fixture
async def ours(agent: Agent) -> AsyncIterator[Peer]:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"]) as dialled:
        yield dialled


@pytest.fixture
async def job(ours: Peer) -> str:
    return await start_program(ours, SERVER)


async def begin(
    peer: Peer, job: str, target: str, headers: list[list[str]] | bytes, method: str = "GET", **options: Any
) -> int:
    return await peer.start(BISTREAM, "http_request", job, method, target, [], headers, raw=True, **options)


async def values(peer: Peer, call: int, count: int) -> list[Any]:
    return [(await peer.next_of(call))[2] for _ in range(count)]


async def bytes_of(peer: Peer, call: int, count: int) -> bytes:
    """Return the next bytes of a call's stream, whatever their messages."""
    data = b""
    while len(data) < count:
        message = await peer.next_of(call)
        if message[0] == 8:
            data += message[2]
        else:
            assert message[0] != 7, message
    return data


# --- requests -------------------------------------------------------------------------------------------


async def test_the_head_says_whether_a_body_comes(ours: Peer) -> None:
    """Without either field the request is sent at once: no end of a body follows."""
    job = await start_program(ours, ECHO)
    for method, more in (("GET", b""), ("DELETE", b""), ("POST", b"Content-Length: 0\r\n")):
        call = await begin(ours, job, "/a?b", [["hOsT", "x.example"], ["x-A", "1"]], method)
        got, _ = await ours.outcome(call)
        assert got[2] == method.encode() + b" /a?b HTTP/1.1\r\nHost: x.example\r\nx-A: 1\r\n" + more + b"\r\n"
    call = await begin(ours, job, "/", [["content-length", "0"]], "PUT")
    assert (await ours.outcome(call))[0][0] == 200
    call = await begin(ours, job, "/", [])
    await ours.data(call, b"surprise")
    with pytest.raises(CallFailed, match="after the end of the body"):
        await ours.outcome(call)


async def test_fields_of_the_wire_pass_and_those_of_the_hop_do_not(ours: Peer) -> None:
    job = await start_program(ours, ECHO)
    passed = [["Trailer", "x-sum"], ["Expect", "x"], ["Accept-Encoding", "br"], ["aCCept", "a"]]
    hop = [
        ["TE", "gzip;q=1, trailers"],
        ["Keep-Alive", "5"],
        ["Connection", "x-mine, TE"],
        ["X-Mine", "1"],
        ["Upgrade", "h2c"],
    ]
    got, _ = await ours.outcome(await begin(ours, job, "/", [*passed, *hop]))
    assert got[2].split(b"\r\n")[2:-2] == [
        b"Trailer: x-sum", b"Expect: x", b"Accept-Encoding: br", b"aCCept: a", b"TE: trailers",
    ]  # fmt: skip
    got, _ = await ours.outcome(await begin(ours, job, "/", [["te", "gzip"]]))
    assert b"\r\nTE" not in got[2]


@pytest.mark.parametrize("path", ["/expect", "/silent-expect"])
async def test_the_body_follows_the_100_or_the_callers_first_message(ours: Peer, job: str, path: str) -> None:
    call = await begin(ours, job, path, [["Expect", "100-continue"], ["Content-Length", "3"]], "POST")
    if path == "/expect":
        assert await values(ours, call, 2) == [100, []]
    await ours.data(call, b"abc")
    await ours.data(call, b"")
    got, _ = await ours.outcome(call)
    assert (got[0], got[2]) == (200, b"ABC")


# --- responses ------------------------------------------------------------------------------------------


async def test_interim_responses_are_passed_on_to_raw_callers_only(ours: Peer, job: str) -> None:
    for _ in range(2):
        got, _ = await ours.outcome(await begin(ours, job, "/interim", []))
        assert got == [102, [], 103, [["link", "y"]], 104, [], 200, [["Content-Length", "2"]], b"hi"]
        assert await ours.http(job, "GET", "/interim") == (200, [["Content-Length", "2"]], [b"hi"])


async def test_trailers_are_the_last_list(ours: Peer, job: str) -> None:
    got, _ = await ours.outcome(await begin(ours, job, "/trailers", []))
    assert got == [200, [["trailer", "x-sum"]], b"hi", [["x-sum", "1"]]]
    assert await ours.http(job, "GET", "/trailers") == (200, [], [b"hi"])


# --- heads in lines --------------------------------------------------------------------------------------


async def test_heads_in_lines(agent: Agent) -> None:
    """The caller that sends its fields as lines gets those of the job as lines, and those of a 502."""
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow", "lines"]) as peer:
        job = await start_program(peer, SERVER)
        got, result = await peer.outcome(await begin(peer, job, "/interim", b"Host: a\r\nX-A:1\r\n"))
        assert got == [b"102\r\n\r\n", b"103\r\nlink: y\r\n\r\n", b"104\r\n\r\n"]
        assert result == b"200\r\nContent-Length: 2\r\n\r\nhi"
        call = await begin(peer, job, "/echo", b"Connection: upgrade\r\nUpgrade: mine/2\r\n", upgrade=True)
        assert (await peer.next_of(call))[2] == b"101\r\nconnection: Upgrade\r\nupgrade: Mine/2\r\nx-a: 1\r\n\r\n"
        await peer.cancel(call)
        got, _ = await peer.outcome(await begin(peer, job, "/other", b""))
        assert got[0].startswith(b"502\r\nContent-Type: text/plain")
        got, _ = await peer.outcome(await begin(peer, job, "/interim", []))
        assert got[6:] == [200, [["Content-Length", "2"]], b"hi"]
        with pytest.raises(CallFailed, match="ValueError"):
            await peer.outcome(await begin(peer, job, "/", b"Host: a\r\n\r\n"))


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/made", [b"200\r\nContent-Length: 1\r\n\r\n1"]),
        ("/trailers", [b"200\r\ntrailer: x-sum\r\n\r\nhi", [["x-sum", "1"]], None]),
        ("/long", [b"200\r\nContent-Length: 20000\r\n\r\n", bytes(20000), None]),
        ("/broken", [b"200\r\n\r\nhi", False]),
    ],
)
async def test_an_answer_that_comes_at_once_is_the_result(agent: Agent, target: str, parts: list[Any]) -> None:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow", "lines"]) as peer:
        job = await start_program(peer, SERVER)
        call = await begin(peer, job, target, b"Host: a\r\n")
        if target == "/broken":
            got = await values(peer, call, 2)
            with pytest.raises(CallFailed, match="chunk"):
                await peer.outcome(call)
        else:
            got, result = await peer.outcome(call)
            got.append(result)
        assert got == parts


async def test_an_answer_that_comes_in_two_reads_is_not_the_result(agent: Agent) -> None:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow", "lines"]) as peer:
        job = await start_program(peer, SERVER)
        call = await begin(peer, job, "/two", b"Host: a\r\n")
        assert await values(peer, call, 1) == [b"200\r\nContent-Length: 4\r\n\r\nab"]
        await peer.outcome(await begin(peer, job, "/release", b"Host: a\r\n"))
        assert await peer.outcome(call) == ([b"cd"], None)


@pytest.mark.parametrize("extensions", [[], ["flow"]])
async def test_no_heads_in_lines_without_the_extension(agent: Agent, extensions: list[str]) -> None:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=extensions) as peer:
        job = await start_program(peer, SERVER)
        with pytest.raises(CallFailed, match="TypeError"):
            await peer.outcome(await begin(peer, job, "/made", b"Host: a\r\n"))


# --- upgrades -------------------------------------------------------------------------------------------


async def test_an_upgrade_is_a_tunnel_both_ways(ours: Peer, job: str) -> None:
    call = await begin(ours, job, "/echo", UPGRADE, upgrade=True)
    await ours.data(call, b"early ")  # waits for the 101
    assert await values(ours, call, 2) == [101, [["connection", "Upgrade"], ["upgrade", "Mine/2"], ["x-a", "1"]]]
    await ours.data(call, b"late")
    assert await bytes_of(ours, call, 15) == b"firstearly late"
    await ours.data(call, b"")
    got, result = await ours.outcome(call)
    assert (b"".join(got), got[-1], result) == (b"last", b"", None)


async def test_a_half_close_before_the_101_waits_as_well(ours: Peer, job: str) -> None:
    call = await begin(ours, job, "/echo", UPGRADE, upgrade=True)
    await ours.data(call, b"early")
    await ours.data(call, b"")
    got, result = await ours.outcome(call)
    assert (got[0], b"".join(got[2:]), result) == (101, b"firstearlylast", None)


async def test_bulk_passes_an_upgrade_whole(ours: Peer, job: str) -> None:
    call = await begin(ours, job, "/echo", UPGRADE, upgrade=True)
    await values(ours, call, 2)
    total = 8 * PORT_HIGH_WATER

    async def send() -> None:
        for _ in range(total // 4096):
            await ours.data(call, bytes(4096))

    await ours.send([10, call, 2 * total])
    sending = asyncio.create_task(send())
    async with asyncio.timeout(PATIENCE_S):
        data = await bytes_of(ours, call, 5 + 64 * 1024)
    sending.cancel()
    assert data == b"first" + bytes(len(data) - 5)
    await ours.cancel(call)


async def test_any_other_answer_is_a_response_and_its_connection_is_not_kept(ours: Peer, job: str) -> None:
    assert (await ours.http(job, "GET", "/made"))[2] == [b"1"]
    for _ in range(3):
        call = await begin(ours, job, "/426", UPGRADE, upgrade=True)
        got, _ = await ours.outcome(call)
        assert got == [426, [["Content-Length", "2"]], b"no"]
    assert (await ours.http(job, "GET", "/made"))[2] == [
        b"4"
    ]  # that of an upgrade is new, and the kept one is still there


async def test_a_protocol_that_was_not_offered_is_a_502(ours: Peer, job: str) -> None:
    call = await begin(ours, job, "/other", [["Upgrade", "mine"]], upgrade=True)
    got, _ = await ours.outcome(call)
    assert got[0] == 502
    assert b"101 to a protocol that was not offered" in got[2]


async def test_a_reset_is_an_error(ours: Peer, job: str) -> None:
    call = await begin(ours, job, "/reset", [["upgrade", "Mine"]], upgrade=True)
    await ours.data(call, b"x")
    with pytest.raises(CallFailed) as failed:
        await ours.outcome(call)
    assert failed.value.cause == "ConnectionResetError"


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        ([], {"raw": True}),
        ([["Upgrade", ""]], {"raw": True}),
        ([["Upgrade", "h2c"]], {"raw": True}),
        ([["Upgrade", "mine, H2C"]], {"raw": True}),
        ([["Upgrade", "mine"]], {}),
    ],
)
async def test_offers_that_cannot_be_made(
    ours: Peer, job: str, headers: list[list[str]], options: dict[str, Any]
) -> None:
    call = await ours.start(BISTREAM, "http_request", job, "GET", "/echo", [], headers, upgrade=True, **options)
    with pytest.raises(CallFailed) as failed:
        await ours.outcome(call)
    assert failed.value.cause == "ValueError"


async def test_a_cancel_before_and_after_the_switch_ends_the_connection(ours: Peer, job: str) -> None:
    assert (await ours.http(job, "GET", "/made"))[2] == [b"1"]
    before = await begin(ours, job, "/echo", UPGRADE, upgrade=True)
    async with asyncio.timeout(PATIENCE_S):
        while (await ours.http(job, "GET", "/made"))[2] != [b"2"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await ours.cancel(before)
    after = await begin(ours, job, "/echo", UPGRADE, upgrade=True)
    await values(ours, after, 3)
    await ours.cancel(after)
    async with asyncio.timeout(PATIENCE_S):  # none of them looks like an end
        while (await ours.http(job, "GET", "/resets"))[2] != [b"2"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
