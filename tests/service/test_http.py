"""``http_request`` end to end, as a router of the field calls it, and what peers of ours may ask for beyond that."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest

from pagent.limits import BODY_CHUNK
from tests.kit.peer import BISTREAM, CallFailed, Peer
from tests.kit.programs import ECHO, serving, start_program

#: One request a connection is told apart by: /raw/HEX answers those bytes and closes; /early answers before the body is
#: read; /count answers the number of connections so far; /slow waits for the connection's end and notes it; /expect
#: answers what it got; /bytes/N sends so many; /trailers and /gzip and /redirect do as they say.
SERVER = serving("""
import gzip
connections = 0
ends = 0
async def serve(reader, writer):
    global connections, ends
    connections += 1
    def say(body, status="200 OK", *fields):
        head = "\\r\\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""])
        writer.write(head.encode() + body)
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode("latin-1")
            method, target, _ = head.split("\\r\\n")[0].split(" ")
            name, _, rest = target[1:].partition("/")
            if name == "raw":
                writer.write(bytes.fromhex(rest))
                writer.close()
                return
            if name == "early":
                say(b"enough", "413 Content Too Large", "Connection: close")
                await writer.drain()
                await reader.read(10)
            elif name == "count":
                say(f"{connections} {ends}".encode())
            elif name == "slow":
                writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nfirst")
                await reader.read()
                ends += 1
                return
            elif name == "bytes":
                say(b"" if method == "HEAD" else bytes(int(rest)), "200 OK", "X-Size: " + rest)
            elif name == "trailers":
                writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
                writer.write(b"4\\r\\nbody\\r\\n0\\r\\nX-Sum: 7\\r\\n\\r\\n")
            elif name == "gzip":
                say(gzip.compress(b"plain " * 1000), "200 OK", "Content-Encoding: gzip", "Vary: Accept-Encoding")
            elif name == "redirect":
                say(b"", "302 Found", "Location: /elsewhere", "Set-Cookie: a=1", "Set-Cookie: b=2")
            else:
                say(head.encode("latin-1"))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
""")


@pytest.fixture
async def job(peer: Peer) -> str:
    return await start_program(peer, SERVER)


async def body_of(peer: Peer, job: str, path: str, **options: Any) -> bytes:
    status, _, body = await peer.http(job, path=path, **options)
    assert status == 200
    return b"".join(body)


async def seen(peer: Peer, job: str, *call: Any, **options: Any) -> list[str]:
    """The head that the job got."""
    status, _, body = await peer.http(job, *call, **options)
    assert status == 200
    return b"".join(body).decode("latin-1").split("\r\n")[:-2]


async def test_connections_are_kept_and_those_that_the_job_has_closed_are_not_used(peer: Peer, job: str) -> None:
    counts = [await body_of(peer, job, "/count") for _ in range(5)]
    assert len({count.split()[0] for count in counts}) == 1
    closed = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".hex()  # without a word of Connection: close
    for _ in range(20):
        assert await body_of(peer, job, f"/raw/{closed}") == b"ok"


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/", [], "/"),
        ("", [], "/"),
        ("/a b/ü/%", [], "/a%20b/%C3%BC/%25"),
        ("/a/../b//c/.", [], "/a/../b//c/."),
        ("/?#[]", [], "/%3F%23%5B%5D"),
        ("/x", [["a", ""], ["", "b"], ["a", "1"], ["a", "1"]], "/x?a=&=b&a=1&a=1"),
        ("/x", [["a&b", "c=d"], ["ü +", "%2F"]], "/x?a%26b=c%3Dd&%C3%BC%20%2B=%252F"),
        ("/\U0001f600", [], "/%F0%9F%98%80"),
    ],
)
async def test_path_and_query_are_encoded_again(
    peer: Peer, job: str, path: str, query: list[list[str]], target: str
) -> None:
    assert (await seen(peer, job, "GET", path, query))[0].split(" ")[1] == target


async def test_hop_by_hop_fields_stay_and_the_others_go_in_order(peer: Peer, job: str) -> None:
    headers = [
        ["Host", "router.example:8080"], ["X-B", "1"], ["Connection", "keep-alive, X-Hop"], ["X-Hop", "1"],
        ["X-A", "2"], ["X-B", "3"], ["Keep-Alive", "300"], ["TE", "trailers"], ["Proxy-Authorization", "x"],
        ["Accept-Encoding", "gzip, br"], ["Upgrade", "h2c"], ["Cookie", "a=b; c=d"],
    ]  # fmt: skip
    lines = await seen(peer, job, "GET", "/", [], headers)
    assert lines[1] == "Host: router.example:8080"
    assert [line for line in lines if line.startswith("X-")] == ["X-B: 1", "X-A: 2", "X-B: 3"]
    assert "Cookie: a=b; c=d" in lines
    names = {line.split(":")[0].lower() for line in lines[1:]}
    assert names.isdisjoint({"connection", "keep-alive", "te", "proxy-authorization", "upgrade"})
    assert [line for line in lines if line.lower().startswith("accept-encoding")] == ["Accept-Encoding: identity"]


async def test_repeated_fields_of_the_answer_keep_their_order_and_redirects_are_the_clients(
    peer: Peer, job: str
) -> None:
    status, headers, body = await peer.http(job, path="/redirect")
    assert (status, body) == (302, [])
    assert headers[1:] == [["Location", "/elsewhere"], ["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]]


async def test_head_has_the_length_and_no_body(peer: Peer, job: str) -> None:
    status, headers, body = await peer.http(job, "HEAD", "/bytes/0")
    assert (status, body) == (200, [])
    assert ["Content-Length", "0"] in headers
    assert await body_of(peer, job, "/bytes/3") == bytes(3)


async def test_a_large_body_comes_in_messages_that_any_peer_takes(peer: Peer, job: str) -> None:
    status, _, body = await peer.http(job, path="/bytes/5000000")
    assert status == 200
    assert sum(map(len, body)) == 5_000_000
    assert max(map(len, body)) <= BODY_CHUNK


async def test_what_comes_encoded_is_decoded_with_its_length_taken_away(peer: Peer, job: str) -> None:
    status, headers, body = await peer.http(job, path="/gzip")
    assert (status, b"".join(body)) == (200, b"plain " * 1000)
    assert headers == [["Vary", "Accept-Encoding"]]


async def test_raw_leaves_target_coding_and_trailers_alone(peer: Peer, job: str) -> None:
    _, headers, body = await peer.http(job, path="/gzip", raw=True)
    assert gzip.decompress(b"".join(body)) == b"plain " * 1000
    assert ["Content-Encoding", "gzip"] in headers
    _, _, body = await peer.http(job, path="/trailers", raw=True)
    assert body == [b"body", [["X-Sum", "7"]]]
    lines = await seen(peer, job, "GET", "/a%2Fb?c=d%20e&&f", [], [["Accept-Encoding", "br"]], raw=True)
    assert lines[0] == "GET /a%2Fb?c=d%20e&&f HTTP/1.1"
    assert "Accept-Encoding: br" in lines


@pytest.mark.parametrize(
    "headers", [[["Content-Length", "10"]], [["Transfer-Encoding", "chunked"]], []], ids=["length", "chunked", "unsaid"]
)
@pytest.mark.parametrize("end", ["empty bin", "stream close"])
async def test_bodies_of_requests(peer: Peer, headers: list[list[str]], end: str) -> None:
    job = await start_program(peer, ECHO)
    call = await peer.start(BISTREAM, "http_request", job, "POST", "/", [], headers)
    for piece in (b"0123", b"456789"):
        await peer.data(call, piece)
    await (peer.data(call, b"") if end == "empty bin" else peer.end(call))
    values, _ = await peer.outcome(call)
    assert values[0] == 200
    assert b"".join(values[2:]).endswith(b"\r\n\r\n0123456789")


async def test_an_answer_may_come_before_the_body_is_over(peer: Peer, job: str) -> None:
    call = await peer.start(BISTREAM, "http_request", job, "POST", "/early", [], [["Transfer-Encoding", "chunked"]])
    await peer.data(call, b"a beginning")
    values, _ = await peer.outcome(call)
    assert (values[0], b"".join(values[2:])) == (413, b"enough")
    await peer.data(call, b"that nobody reads")
    assert (await body_of(peer, job, "/count")).split()[0].isdigit()


async def test_expect_does_not_deadlock(peer: Peer) -> None:
    job = await start_program(peer, ECHO)
    status, _, body = await peer.http(
        job, "PUT", "/", [], [["Expect", "100-continue"], ["Content-Length", "4"]], [b"body"]
    )
    assert status == 200
    assert b"".join(body).endswith(b"\r\n\r\nbody")


async def test_a_cancel_closes_the_jobs_connection(peer: Peer, job: str) -> None:
    call = await peer.start(BISTREAM, "http_request", job, "GET", "/slow", [], [])
    await peer.data(call, b"")
    assert [(await peer.next_of(call))[2] for _ in range(3)][2] == b"first"
    await peer.cancel(call)
    async with asyncio.timeout(30):
        while not (await body_of(peer, job, "/count")).endswith(b" 1"):
            pass


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "reason"),
    [
        ("CONNECT", "/", [], [], "CONNECT is refused"),
        ("GET /evil HTTP/1.1\r\n", "/", [], [], "the method is not a token"),
        ("GET", "/", [["X", "a\r\nY: b"]], [], "control character"),
        ("GET", "/", [["X: a\r\nY", "b"]], [], "not a token"),
        ("GET", "/", [["Host", "a"], ["Host", "b"]], [], "more than one Host"),
        ("POST", "/", [["Content-Length", "3"], ["Transfer-Encoding", "chunked"]], [], "both"),
        ("POST", "/", [["Content-Length", "3"], ["Content-Length", "4"]], [], "different values"),
        ("POST", "/", [["Content-Length", "-1"]], [], "not a number"),
        ("POST", "/", [["Transfer-Encoding", "gzip, chunked"]], [], "not chunked"),
        ("POST", "/", [["Content-Length", "3"]], [b"GET /evil HTTP/1.1\r\n\r\n"], "longer than its Content-Length"),
        ("POST", "/", [["Content-Length", "3"]], [b"ab"], "shorter than its Content-Length"),
        ("POST", "/", [["Content-Length", "3"]], ["text"], "bytes"),
        ("GET", "/", [["Connection", "close"]] * 5000, [], "too many headers"),
        ("GET", "/" + "x" * 70_000, [], [], "too l"),
        ("GET", 7, [], [], "must be a string"),
        ("GET", "/", "Host: a", [], "must be a list of pairs"),
        ("GET", "/", [["a"]], [], "must be a list of pairs"),
        ("GET", "/", {"a": "b"}, [], "must be a list of pairs"),
        ("GET", "/", [["a", None]], [], "pairs of strings"),
        (b"GET", "/", [], [], "must be a string"),
    ],
)
async def test_no_request_becomes_two_and_none_poisons_the_next(
    peer: Peer, job: str, method: Any, path: Any, headers: Any, body: list[Any], reason: str
) -> None:
    call = await peer.start(BISTREAM, "http_request", job, method, path, [], headers)
    for piece in [*body, b""]:
        await peer.data(call, piece)
    with pytest.raises(CallFailed, match=reason):
        await peer.outcome(call)
    assert (await seen(peer, job))[0] == "GET / HTTP/1.1"


async def test_a_job_that_cannot_be_reached_is_a_502(peer: Peer) -> None:
    """It listened when it was asked, and does not any more."""
    once = """
import signal, socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listening:
    listening.accept()
signal.pause()
"""
    job = await start_program(peer, once)
    assert await peer.http(job) == (502, [], [])


async def test_ports(peer: Peer) -> None:
    job = await start_program(peer, SERVER)
    (port,) = (await peer.call("job_info", job))["ports"]
    assert (await peer.http(job, port=port))[0] == 200
    with pytest.raises(CallFailed, match=f"port {port + 1} is not one of the job's"):
        await peer.http(job, port=port + 1)
    with pytest.raises(CallFailed, match="TypeError"):
        await peer.http(job, port=str(port))
    idle = (await peer.call("job_create"))["uid"]
    with pytest.raises(CallFailed, match="ValueError: job does not contain a running server"):
        await peer.http(idle)
    with pytest.raises(CallFailed, match="JobNotFoundError"):
        await peer.http("nobody")
    with pytest.raises(CallFailed, match="TypeError"):
        await peer.http(["no", "uid"])  # type: ignore[arg-type]
