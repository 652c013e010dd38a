"""``ws_connect`` end to end: jobs that serve WebSockets with the ``websockets`` library, and some by hand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pagent.agent import Agent
from pagent.limits import CLOSE_TIMEOUT_S, FLUSH_STALLED_S, FRAMES_AT_ONCE, REFUSAL_TEXT_MAX
from pagent.net.port.connection import PortConnection
from pagent.splice.websocket import WebSocketSplice
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.ends import HeldTimers
from tests.kit.peer import BISTREAM, PATIENCE_S, CallFailed, Peer
from tests.kit.programs import start_closed_program, start_program
from tests.kit.transfers import eventually, spooled

#: A server of the ``websockets`` library; its path names its behaviour. /state lists the sockets that have ended.
SERVER = """
import asyncio, hashlib, json, socket, struct, sys, websockets
from http import HTTPStatus
from websockets.asyncio.server import serve
ended = []
sent = 0
def refuse(connection, request):
    if request.path == "/refuse":
        return connection.respond(HTTPStatus.FORBIDDEN, "not for you, " + "x" * 2000)
def choose(connection, offered):
    return next((name for name in offered if name in ("two", "three")), None)
async def one(ws):
    global sent
    path = ws.request.path.partition("?")[0]
    if path == "/state":
        await ws.send(json.dumps(ended))
    elif path == "/head":
        await ws.send(json.dumps([ws.request.path, *ws.request.headers.raw_items()]))
    elif path == "/close":
        await ws.close(4321, "enough")
    elif path == "/abort":
        ws.transport.abort()
    elif path == "/reset":
        ws.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ws.transport.abort()
    elif path == "/sent":
        await ws.send(str(sent))
    elif path == "/fragments":
        await ws.send(["a", "b", "", "c"])
        await ws.send([b"a", b"b", b"", b"c"])
    elif path == "/ping":
        waiter = await ws.ping(b"are you there")
        await waiter
        await ws.send("yes")
    elif path == "/stuck":  # reads nothing before /go, and reports the received data at a text
        ws.transport.pause_reading()
        await go.wait()
        pong = await ws.ping(b"while nothing is read")
        await ws.send("soon")
        await resumed.wait()
        ws.transport.resume_reading()
        digest = hashlib.sha256()
        async for message in ws:
            if isinstance(message, str):
                await pong
                await ws.send(digest.hexdigest())
            else:
                digest.update(message)
    elif path == "/close-stuck":  # closes at /go, and never reads
        ws.transport.pause_reading()
        await go.wait()
        ws.transport.write(b"\\x88\\x02\\x03\\xe8")
        await asyncio.Event().wait()
    elif path == "/go":
        go.set()
    elif path == "/go-on":
        resumed.set()
    elif path == "/big":
        try:
            await ws.send(bytes(int(await ws.recv())))
            await ws.wait_closed()
        except websockets.ConnectionClosed:
            pass
        return ended.append([path, ws.close_code])
    elif path == "/endless":
        try:
            while True:
                await ws.send(bytes(65536))
                sent += 65536
        except websockets.ConnectionClosed:
            return ended.append([path, ws.close_code])
    else:
        async for message in ws:
            await ws.send(message)
        ended.append([path, ws.close_code])
async def main():
    global go, resumed
    go, resumed = asyncio.Event(), asyncio.Event()
    async with serve(one, "127.0.0.1", int(sys.argv[1]), process_request=refuse, select_subprotocol=choose,
                     max_size=None, close_timeout=1, ping_interval=None):
        await asyncio.Event().wait()
asyncio.run(main())
"""

#: Answers with ANSWER (latin-1; {accept} is the accept key, | a pause) and then waits for the end.
#: /seen and /gone wait for such a connection.
BY_HAND = """
import base64, hashlib, os, re, socket, sys, threading, time
def serve(connection):
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        if not (piece := connection.recv(65536)):
            return
        data += piece
    if (event := {b"/seen": seen, b"/gone": lost}.get(data.split()[1])) is not None:
        event.wait()
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\n")
        return connection.close()
    for answer in os.environ.get("ANSWER", "").split("|"):
        time.sleep(0.05)  # otherwise both would come at once
        key = re.search(rb"sec-websocket-key: (\\S+)", data, re.I)[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        connection.sendall(answer.replace("{accept}", accept).encode("latin-1"))
    seen.set()
    if connection.recv(1) == b"":
        lost.set()
seen, lost = threading.Event(), threading.Event()
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listening.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"""


#: Chooses the first subprotocol, sends the request line as a message, and closes.
RAW = """
import base64, hashlib, re, socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listening.accept()
    data = b""
    while b"\\r\\n\\r\\n" not in data and (piece := connection.recv(65536)):
        data += piece
    if data:
        key = re.search(rb"sec-websocket-key: (\\S+)", data, re.I)[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest())
        protocol = re.search(rb"sec-websocket-protocol: (\\S+)", data, re.I)[1]
        line = data.split(b"\\r\\n")[0]
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
            b"Sec-WebSocket-Accept: " + accept + b"\\r\\nSec-WebSocket-Protocol: " + protocol + b"\\r\\n\\r\\n"
            + bytes((0x81, len(line))) + line + b"\\x88\\x00")
    connection.close()
"""


@pytest.fixture
async def job(peer: Peer) -> str:
    return await start_program(peer, SERVER)


@pytest.fixture
async def own(agent: Agent) -> AsyncIterator[Peer]:
    """A peer of ours: flow control, and messages of any size that ours takes."""
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"]) as dialled:
        yield dialled


@pytest.fixture
async def closing(monkeypatch: pytest.MonkeyPatch) -> HeldTimers:
    """The time limits of a splice at its end, and for the rest of a refusal."""
    return HeldTimers(monkeypatch, (WebSocketSplice, PortConnection), CLOSE_TIMEOUT_S)


async def open_ws(peer: Peer, job: str, path: str, headers: list[list[str]] | None = None, **options: Any) -> int:
    """A call of ``ws_connect`` that the job has accepted."""
    call = await peer.start(BISTREAM, "ws_connect", job, path, [["q", "ü"]], headers or [], **options)
    first = (await peer.next_of(call))[2]
    assert first is True or "subprotocols" in options
    return call


async def rest(peer: Peer, job: str, path: str) -> list[Any]:
    """The messages of a WebSocket that the job ends."""
    return (await peer.outcome(await open_ws(peer, job, path)))[0]


async def ended(peer: Peer, job: str, least: int) -> list[Any]:
    """Return the close codes that the job has seen, once there are ``least``."""
    async with asyncio.timeout(PATIENCE_S):
        while len(codes := json.loads((await rest(peer, job, "/state"))[0])) < least:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return list(codes)


async def refused(peer: Peer, job: str, path: str = "/") -> CallFailed:
    call = await peer.start(BISTREAM, "ws_connect", job, path, [], [])
    assert (await peer.next_of(call))[2] is False
    with pytest.raises(CallFailed) as failed:
        await peer.outcome(call)
    return failed.value


# --- messages -------------------------------------------------------------------------------------------


async def test_messages_of_both_kinds_and_none_of_them_is_lost(peer: Peer, job: str) -> None:
    call = await open_ws(peer, job, "/")
    sent = ["text", b"binary", "", b"", "ü\U0001f600", bytes(range(256)) * 1000, "x" * 70000]
    for message in sent:
        await peer.data(call, message)
    assert [(await peer.next_of(call))[2] for _ in sent] == sent
    await peer.end(call)
    assert await peer.outcome(call) == ([], None)
    assert await ended(peer, job, 1) == [["/", 1000]]


async def test_what_is_sent_before_the_answer_is_not_lost(peer: Peer, job: str) -> None:
    call = await peer.start(BISTREAM, "ws_connect", job, "/", [], [])
    await peer.data(call, "early")
    assert [(await peer.next_of(call))[2] for _ in range(2)] == [True, "early"]
    await peer.end(call)
    await peer.outcome(call)


async def test_fragments_are_joined(peer: Peer, job: str) -> None:
    assert await rest(peer, job, "/fragments") == ["abc", b"abc"]


async def test_pings_are_answered(peer: Peer, job: str) -> None:
    assert await rest(peer, job, "/ping") == ["yes"]


async def test_a_message_of_another_kind_ends_the_call_alone(peer: Peer, job: str) -> None:
    call = await open_ws(peer, job, "/")
    await peer.data(call, [1])
    with pytest.raises(CallFailed) as failed:
        await peer.outcome(call)
    assert failed.value.status == 30
    assert await rest(peer, job, "/ping") == ["yes"]


async def test_messages_above_4_mib_close_that_websocket_of_a_foreign_peer(peer: Peer, job: str) -> None:
    call = await open_ws(peer, job, "/big")
    await peer.data(call, str(4 << 20))
    assert await peer.outcome(call) == ([], None)
    assert await ended(peer, job, 1) == [["/big", 1009]]
    call = await open_ws(peer, job, "/big")
    await peer.data(call, str((4 << 20) - 1024))
    assert len((await peer.next_of(call))[2]) == (4 << 20) - 1024
    await peer.end(call)
    await peer.outcome(call)


async def test_64_mb_pass_between_peers_of_ours(own: Peer) -> None:
    job = await start_program(own, SERVER)
    call = await open_ws(own, job, "/big")
    await own.data(call, str(64_000_000))
    while (message := await own.next_of(call))[0] != 8:
        assert message[0] == 11
    assert len(message[2]) == 64_000_000
    await own.end(call)
    await own.outcome(call)


# --- ends -----------------------------------------------------------------------------------------------


async def test_the_jobs_close(peer: Peer, job: str) -> None:
    assert await rest(peer, job, "/close") == []
    assert await rest(peer, job, "/abort") == []
    call = await open_ws(peer, job, "/close", subprotocols=[])
    assert await peer.outcome(call) == ([], {"code": 4321, "reason": "enough"})
    for path in ("/abort", "/reset"):
        call = await open_ws(peer, job, path, subprotocols=[])
        assert await peer.outcome(call) == ([], {"code": 1006, "reason": ""})


async def test_a_cancel_ends_the_jobs_socket(peer: Peer, job: str) -> None:
    for number, path in enumerate(("/", "/endless")):
        call = await open_ws(peer, job, path)
        await peer.cancel(call)
        assert (await ended(peer, job, number + 1))[-1][0] == path


async def test_a_caller_that_takes_nothing_pauses_its_job_only(own: Peer) -> None:
    job = await start_program(own, SERVER)
    call = await open_ws(own, job, "/endless")
    got = 0
    while got < 256 << 10:
        got += len((await own.next_of(call))[2])
    for _ in range(50):
        assert await rest(own, job, "/ping") == ["yes"]
    assert got <= (256 << 10) + 65536
    assert int((await rest(own, job, "/sent"))[0]) < 32 << 20  # no more than buffers of the kernel take
    await own.send([10, call, 64 << 20])
    while got < 64 << 20:
        got += len((await own.next_of(call))[2])
    await own.end(call)
    await own.cancel(call)
    assert (await ended(own, job, 1))[0][0] == "/endless"


async def test_an_open_websocket_keeps_no_arguments_of_its_call(agent: Agent, peer: Peer, job: str) -> None:
    """The headers of a browser take more than the rest of an idle WebSocket."""
    call = await open_ws(peer, job, "/stuck", [["X-Large", "x" * 5000]])
    (link,) = agent.links.open
    assert link.incoming[call].arguments == ((), {})


async def test_a_job_that_stops_reading_takes_no_memory_and_delays_no_other_call(
    peer: Peer, job: str, tmp_path: Path
) -> None:
    """Further messages of its caller go to the disk, and arrive whole once the job reads again."""
    call = await open_ws(peer, job, "/stuck")
    piece = random.Random(1).randbytes(16 << 20)  # more than the kernel takes
    for _ in range(5):
        await peer.data(call, piece)
    await peer.data(call, "done")
    assert await rest(peer, job, "/ping") == ["yes"]
    async with asyncio.timeout(PATIENCE_S):
        while spooled(tmp_path) < 48 << 20:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await rest(peer, job, "/go")
    assert (await peer.next_of(call))[2] == "soon"  # and its ping has come before
    await rest(peer, job, "/go-on")
    assert (await peer.next_of(call))[2] == hashlib.sha256(5 * piece).hexdigest()
    await eventually(lambda: spooled(tmp_path) == 0)  # a write under way ends first
    await peer.end(call)
    await peer.outcome(call)


async def test_a_cancel_ends_what_a_job_does_not_read(
    peer: Peer, job: str, closing: HeldTimers, tmp_path: Path
) -> None:
    """At once, not once it has waited for the end of a close."""
    call = await open_ws(peer, job, "/stuck")
    for _ in range(5):
        await peer.data(call, bytes(16 << 20))
    async with asyncio.timeout(PATIENCE_S):
        while spooled(tmp_path) < 48 << 20:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await peer.cancel(call)
    await unconnected(await port_of(peer, job))
    await eventually(lambda: spooled(tmp_path) == 0)  # a write under way ends first


async def test_a_job_that_closes_and_does_not_read_keeps_nothing(
    peer: Peer, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush of earlier messages would have no end."""
    flush = HeldTimers(monkeypatch, PortConnection, FLUSH_STALLED_S)
    call = await open_ws(peer, job, "/close-stuck")
    await peer.data(call, bytes(16 << 20))
    assert await rest(peer, job, "/go") == []
    assert await peer.outcome(call) == ([], None)
    assert flush.fire() == 1
    flush.fire()  # if the kernel has taken some of it meanwhile, it was waited for once more
    await unconnected(await port_of(peer, job))


async def port_of(peer: Peer, job: str) -> int:
    (port,) = (await peer.call("job_info", job))["ports"]
    return int(port)


async def unconnected(port: int) -> None:
    """Wait until this process, which is the agent's, has no connection to a port: no event reports that."""
    async with asyncio.timeout(PATIENCE_S):
        while any(  # noqa: ASYNC110
            connection.raddr and connection.raddr.port == port
            for connection in psutil.Process().net_connections("tcp4")
        ):
            await asyncio.sleep(0.01)


# --- the handshake --------------------------------------------------------------------------------------


async def test_a_refusal_tells_status_and_reason(peer: Peer, job: str) -> None:
    failed = await refused(peer, job, "/refuse")
    assert failed.cause == "WSServerHandshakeError"
    assert "403" in failed.message
    assert "not for you" in failed.message
    assert len(failed.message) < 1000


async def test_a_refusal_that_does_not_end_is_reported(peer: Peer, closing: HeldTimers) -> None:
    job = await start_program(peer, BY_HAND, {"ANSWER": "HTTP/1.1 403 No\r\nContent-Length: 99\r\n\r\nbecause"})
    refusal = asyncio.create_task(refused(peer, job))
    await closing.armed()
    assert closing.fire() == 1
    failed = await refusal
    assert failed.cause == "WSServerHandshakeError"
    assert "because" in failed.message


@pytest.mark.parametrize("count", [10, FRAMES_AT_ONCE, 2 * FRAMES_AT_ONCE, 1000])
async def test_a_refusal_in_very_many_chunks_is_reported_at_once(peer: Peer, closing: HeldTimers, count: int) -> None:
    answer = "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n" + "1\r\nx\r\n" * count + "0\r\n\r\n"
    job = await start_program(peer, BY_HAND, {"ANSWER": answer})
    failed = await refused(peer, job)
    assert failed.message.count("x" * min(count, REFUSAL_TEXT_MAX)) == 1


async def test_the_reason_of_a_refusal_may_come_later(peer: Peer, closing: HeldTimers) -> None:
    job = await start_program(peer, BY_HAND, {"ANSWER": "HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n|beca|use.."})
    assert "because.." in (await refused(peer, job)).message


UPGRADED = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
ACCEPTED = UPGRADED + "Sec-WebSocket-Accept: {accept}\r\n"


@pytest.mark.parametrize("before", ["", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\n"])
async def test_messages_directly_after_the_answer(peer: Peer, before: str) -> None:
    job = await start_program(peer, BY_HAND, {"ANSWER": before + ACCEPTED + "\r\n\x81\x02hi\x88\x02\x03\xe8"})
    call = await peer.start(BISTREAM, "ws_connect", job, "/", [], [])
    assert await peer.outcome(call) == ([True, "hi"], None)


@pytest.mark.parametrize(
    "answer",
    [
        UPGRADED + "Sec-WebSocket-Accept: wrong\r\n\r\n",
        UPGRADED + "\r\n",
        ACCEPTED + ACCEPTED.split("\r\n")[-2] + "\r\n\r\n",
        ACCEPTED + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        ACCEPTED + "Sec-WebSocket-Protocol: not-offered\r\n\r\n",
        ACCEPTED.replace("websocket", "h2c", 1) + "\r\n",
        ACCEPTED.replace("Connection: Upgrade\r\n", "") + "\r\n",
        (ACCEPTED + "\r\n").replace("\r\n", "\n"),
        "HTTP/1.1 102 x\r\n\r\n" * 1000,
        "HTTP/1.1 101 x\r\n\r\n",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 200 OK\r\nA: " + "x" * 70000,
        "HTTP/1.1 101 x\r\nSec-WebSocket-Protocol: \xff\r\nUpgrade: websocket\r\n\r\n",
    ],
)
async def test_an_answer_that_is_no_upgrade(peer: Peer, answer: str) -> None:
    job = await start_program(peer, BY_HAND, {"ANSWER": answer})
    assert (await refused(peer, job)).status == 10
    assert await peer.call("job_count_current_connection") == 1


async def test_a_cancel_while_the_job_is_silent_closes_its_connection(peer: Peer) -> None:
    job = await start_program(peer, BY_HAND)
    call = await peer.start(BISTREAM, "ws_connect", job, "/", [], [])
    assert (await peer.http(job, "GET", "/seen"))[0] == 200
    await peer.cancel(call)
    assert (await peer.http(job, "GET", "/gone"))[0] == 200


async def test_fields_of_the_handshake(peer: Peer, job: str) -> None:
    fields = [
        ["Host", "example.org:1"], ["Origin", "http://example.org:1"], ["Cookie", "a=b"],
        ["Connection", "Upgrade, X-A"], ["Upgrade", "websocket"], ["Sec-WebSocket-Key", "x"],
        ["Sec-WebSocket-Version", "13"],
        ["Sec-WebSocket-Extensions", "permessage-deflate"], ["Sec-WebSocket-Protocol", "two"], ["Content-Type", "a/b"],
        ["Transfer-Encoding", "chunked"], ["X-Kept", "ü"], ["X-A", "1"],
    ]  # fmt: skip
    call = await open_ws(peer, job, "/head", fields)
    target, *got = json.loads((await peer.next_of(call))[2])
    names = [name.lower() for name, _ in got]
    assert target == "/head?q=%C3%BC"
    assert sorted(names) == sorted(
        ["host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "origin", "cookie", "x-kept"]
    )
    values = {name.lower(): value for name, value in got}
    assert values["host"] == "example.org:1"
    assert values["sec-websocket-key"] != "x"
    await peer.outcome(call)


async def test_subprotocols(peer: Peer, job: str) -> None:
    for offered, chosen in ((["one", "two"], "two"), ([], None), (["three"], "three")):
        call = await peer.start(BISTREAM, "ws_connect", job, "/close", [], [], subprotocols=offered)
        if (first := (await peer.next_of(call))[2]) is False:
            raise AssertionError(await peer.next_of(call))
        assert first == {"subprotocol": chosen}
        assert await peer.outcome(call) == ([], {"code": 4321, "reason": "enough"})
    call = await peer.start(BISTREAM, "ws_connect", job, "/", [], [], subprotocols=["a b"])
    with pytest.raises(CallFailed) as failed:
        await peer.outcome(call)
    assert failed.value.cause == "ValueError"


async def test_a_port_without_a_listener(peer: Peer) -> None:
    assert (await refused(peer, await start_closed_program(peer))).cause == "ConnectionRefusedError"


async def test_a_job_that_ends_ends_its_websockets(peer: Peer, job: str) -> None:
    call = await open_ws(peer, job, "/")
    await peer.call("job_kill", job, "KILL")
    assert await peer.outcome(call) == ([], None)


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (3000, ""), (4999, "ü" * 61), (1001, "away")])
async def test_the_caller_closes_with_a_code_and_a_reason(own: Peer, job: str, code: int, reason: str) -> None:
    call = await open_ws(own, job, "/echo", subprotocols=[])
    await own.data(call, {"close": [code, reason]})
    assert await own.outcome(call) == ([], {"code": code, "reason": reason})  # a job answers with the same


@pytest.mark.parametrize(
    "close", [[1005, ""], [999, ""], [1000, "x" * 124], [1000], ["1000", ""], [1000, b""], [True, ""], None]
)
async def test_what_cannot_stand_in_a_close_ends_the_call(own: Peer, job: str, close: Any) -> None:
    call = await open_ws(own, job, "/echo", subprotocols=[])
    await own.data(call, {"close": close})
    with pytest.raises(CallFailed) as failed:
        await own.outcome(call)
    assert failed.value.status == 30


async def test_a_raw_target_arrives_as_it_is(peer: Peer) -> None:
    job = await start_program(peer, RAW)
    call = await peer.start(
        BISTREAM,
        "ws_connect",
        job,
        "/a%2Fb//c;d?q=%C3%BC&x=a+b",
        [],
        [["Host", "named"]],
        subprotocols=["v2"],
        raw=True,
    )
    values, _ = await peer.outcome(call)
    assert values == [{"subprotocol": "v2"}, "GET /a%2Fb//c;d?q=%C3%BC&x=a+b HTTP/1.1"]
    for wrong in ("a", "http://other/", "/a b", "*", "/\r\nX: y"):
        call = await peer.start(BISTREAM, "ws_connect", job, wrong, [], [], raw=True)
        with pytest.raises(CallFailed) as failed:
            await peer.outcome(call)
        assert failed.value.cause == "ValueError"
