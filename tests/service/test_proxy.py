"""``http_request`` end to end, as an old router calls it: a real link, a real job, real sockets."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.buffers import BODY_CHUNK
from pagent.config.model import Settings
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import BISTREAM, PATIENCE_S, CallFailed, Peer
from tests.kit.programs import start_program
from tests.kit.transfers import spooled
from tests.service.proxy_job import SERVER


@pytest.fixture
async def job(peer: Peer) -> str:
    return await start_program(peer, SERVER)


async def get(peer: Peer, job: str, path: str, **options: Any) -> bytes:
    status, _, body = await peer.http(job, "GET", path, **options)
    assert status == 200
    return b"".join(body)


async def state(peer: Peer, job: str) -> dict[str, int]:
    """Return the counts of the job, from a request on a kept connection or on a new one."""
    counts: dict[str, int] = json.loads(await get(peer, job, "/state"))
    return counts


async def until(peer: Peer, job: str, name: str, least: int) -> None:
    """Wait until the job has counted so far: the events of its sockets cannot be awaited from here."""
    async with asyncio.timeout(PATIENCE_S):
        while (await state(peer, job))[name] < least:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def broken(peer: Peer, call: int) -> tuple[list[Any], CallFailed]:
    """Stream messages of a call that ends with an error, and that."""
    values: list[Any] = []
    while (message := await peer.next_of(call))[0] == 8:
        values.append(message[2])
    with pytest.raises(CallFailed) as failed:
        peer.value(message)
    return values, failed.value


async def request(peer: Peer, job: str, path: str, headers: list[list[str]] | None = None, **options: Any) -> int:
    """Begin a POST; its call."""
    return await peer.start(BISTREAM, "http_request", job, "POST", path, [], headers or [], **options)


# --- bodies ---------------------------------------------------------------------------------------------


async def test_bodies_stream_both_ways_at_once(peer: Peer, job: str) -> None:
    call = await request(peer, job, "/pieces", [["Transfer-Encoding", "chunked"]])
    await peer.data(call, b"first")
    assert [(await peer.next_of(call))[2] for _ in range(3)] == [200, [], b"FIRST"]
    await peer.data(call, b"second")
    assert (await peer.next_of(call))[2] == b"SECOND"
    await peer.data(call, b"")
    assert await peer.outcome(call) == ([], None)


@pytest.mark.parametrize("length", [None, 6])
async def test_a_stream_close_is_an_end_of_the_body_too(peer: Peer, job: str, length: int | None) -> None:
    call = await request(peer, job, "/", [] if length is None else [["Content-Length", str(length)]])
    await peer.data(call, b"abc")
    await peer.data(call, b"def")
    await peer.end(call)
    values, _ = await peer.outcome(call)
    assert values[2:] == [b"abcdef"]


async def test_both_ends_of_the_body_are_one(peer: Peer, job: str) -> None:
    call = await request(peer, job, "/")
    await peer.data(call, b"abc")
    await peer.data(call, b"")
    await peer.end(call)
    values, _ = await peer.outcome(call)
    assert values[2:] == [b"abc"]


@pytest.mark.parametrize(("path", "size"), [("/zero=5000000", 5_000_000), ("/bomb", 64 << 20)])
async def test_body_messages_are_of_256_kib_at_most(peer: Peer, job: str, path: str, size: int) -> None:
    status, _, body = await peer.http(job, "GET", path)
    assert status == 200
    assert sum(map(len, body)) == size
    assert max(map(len, body)) <= BODY_CHUNK


async def test_a_body_that_does_not_fit_its_length_ends_the_call(peer: Peer, job: str) -> None:
    for pieces in ([b"abc", b"defg"], [b"abc", b""]):
        call = await request(peer, job, "/", [["Content-Length", "5"]])
        for piece in pieces:
            await peer.data(call, piece)
        _, failed = await broken(peer, call)
        assert "Content-Length" in failed.message
    assert await get(peer, job, "/until-close") == b"hello"


async def test_a_body_of_what_is_no_bytes_ends_the_call(peer: Peer, job: str) -> None:
    call = await request(peer, job, "/")
    await peer.data(call, {"a": 1})
    _, failed = await broken(peer, call)
    assert failed.status == 30
    assert await get(peer, job, "/until-close") == b"hello"


# --- answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 304])
async def test_interim_answers_are_skipped_and_some_have_no_body(peer: Peer, job: str, status: int) -> None:
    length = ["Content-Length", "0"]
    assert await peer.http(job, "GET", f"/no-body={status}") == (status, [["X-A", "1"], length], [])
    assert (await state(peer, job))["made"] == 1


async def test_head_has_no_body_whatever_its_answer_says(peer: Peer, job: str) -> None:
    assert await peer.http(job, "HEAD", "/") == (200, [["Content-Length", "1000"]], [])
    assert await peer.http(job, "HEAD", "/", raw=True) == (
        200, [["Content-Length", "1000"], ["Content-Encoding", "br"]], []
    )  # fmt: skip
    assert (await state(peer, job))["made"] == 3


async def test_redirects_are_the_clients_and_repeated_fields_are_kept(peer: Peer, job: str) -> None:
    status, headers, _ = await peer.http(job, "GET", "/redirect")
    assert status == 302
    assert headers[-3:] == [["Location", "/head"], ["Set-Cookie", "a"], ["Set-Cookie", "b"]]


@pytest.mark.parametrize("path", ["/gzip", "/deflate"])
async def test_what_comes_encoded_is_decoded(peer: Peer, job: str, path: str) -> None:
    assert await peer.http(job, "GET", path) == (200, [], [b"hello" * 1000])


async def test_a_304_tells_of_a_coding_and_has_no_body_to_decode(peer: Peer, job: str) -> None:
    for coding in ("gzip", "br"):
        etag = [["ETag", '"1"']]
        assert await peer.http(job, "GET", f"/not-modified={coding}") == (304, [*etag, ["Content-Length", "0"]], [])
        kept = [["Content-Encoding", coding], ["Accept-Ranges", "bytes"], *etag]
        assert await peer.http(job, "GET", f"/not-modified={coding}", raw=True) == (304, kept, [])
    assert (await state(peer, job))["made"] == 1


async def test_a_part_of_an_encoded_body_is_a_502_unless_raw(peer: Peer, job: str) -> None:
    """Decoded it would be garbage or break off, and an old router removes the field that names the coding."""
    assert await peer.http(job, "GET", "/part") == (502, [], [])
    status, headers, body = await peer.http(job, "GET", "/part", raw=True)
    assert (status, body) == (206, [b"hello"])
    assert ["Content-Range", "bytes 7-11/99"] in headers
    assert await peer.http(job, "GET", "/gzip") == (200, [], [b"hello" * 1000])


async def test_raw_passes_encodings_and_trailers(peer: Peer, job: str) -> None:
    status, headers, body = await peer.http(job, "GET", "/gzip", raw=True)
    assert status == 200
    assert ["Content-Encoding", "gzip"] in headers
    assert body[0][:2] == b"\x1f\x8b"
    chunked = [("Transfer-Encoding", "chunked")]
    assert (await peer.http(job, "POST", "/pieces", [], chunked, [b"a"], raw=True))[2] == [b"A", [["X-Trailer", "t"]]]
    assert (await peer.http(job, "POST", "/pieces", [], chunked, [b"a"]))[2] == [b"A"]


async def test_a_job_that_does_not_answer(peer: Peer, job: str) -> None:
    assert await peer.http(job, "GET", "/drop") == (502, [], [])


@pytest.mark.parametrize("raw", [False, True])
async def test_a_reset_within_the_body_is_no_end(peer: Peer, job: str, raw: bool) -> None:
    call = await peer.start(BISTREAM, "http_request", job, "GET", "/reset", [], [], raw=raw)
    await peer.data(call, b"")
    values, failed = await broken(peer, call)
    assert values[0] == 200
    assert values[-1] is False
    assert b"".join(values[2:-1]) in (b"", b"hello")
    assert failed.cause == "BrokenResponseError"


async def test_an_answer_before_the_body_is_read(peer: Peer, job: str) -> None:
    """It ends the call; the rest of the body is dropped, and its connection is not used again."""
    for _ in range(2):
        call = await request(peer, job, "/early", [["Content-Length", "1000000"]])
        values, result = await peer.outcome(call)
        assert (values[0], values[2:], result) == (413, [b"no"], None)
        for _ in range(3):
            await peer.data(call, bytes(100_000))
        await peer.data(call, b"")
    assert (await state(peer, job))["made"] == 3


async def test_an_answer_of_a_job_that_goes_with_the_body_unread(peer: Peer, job: str) -> None:
    """The kernel resets such a connection while we write: its answer must not be lost with it."""
    for _ in range(20):
        call = await request(peer, job, "/early-close", [["Content-Length", "2000000"]])
        for _ in range(20):
            await peer.data(call, bytes(100_000))
        await peer.data(call, b"")
        values, result = await peer.outcome(call)
        assert (values[0], values[2:], result) == (413, [b"no"], None)


async def test_expect_is_answered_by_sending_the_body(peer: Peer, job: str) -> None:
    assert (await peer.http(job, "POST", "/", [], [("Expect", "100-continue"), ("Content-Length", "3")], [b"abc"]))[
        2
    ] == [b"abc"]
    assert b"xpect" not in await get(peer, job, "/head", headers=[("Expect", "100-continue")])


# --- request heads --------------------------------------------------------------------------------------


async def test_path_and_query_are_encoded_again(peer: Peer, job: str) -> None:
    query = [("a", "1"), ("a", ""), ("ü", "x y&z=/+"), ("", "")]
    head = await get(peer, job, "/head=/ä b?#%2F", query=query)
    assert head.split(b" ")[1] == b"/head=/%C3%A4%20b%3F%23%252F?a=1&a=&%C3%BC=x%20y%26z%3D/%2B&="


async def test_raw_targets_stay_as_they_are(peer: Peer, job: str) -> None:
    assert (await get(peer, job, "/head=%2f..?a&b=%zz", raw=True)).split(b" ")[1] == b"/head=%2f..?a&b=%zz"


async def test_fields_of_a_hop_are_not_passed_on(peer: Peer, job: str) -> None:
    fields = [
        ("Host", "example.org"), ("Connection", "keep-alive, X-Mine"), ("Keep-Alive", "5"), ("X-Mine", "1"),
        ("TE", "trailers"), ("Upgrade", "h2c"), ("Proxy-Authorization", "x"), ("Accept-Encoding", "gzip, br"),
        ("Cookie", "a"), ("Cookie", "b"),
    ]  # fmt: skip
    head = await get(peer, job, "/head", headers=fields)
    assert head.split(b"\r\n")[1:-2] == [
        b"Host: example.org", b"Cookie: a", b"Cookie: b", b"Accept-Encoding: identity",
    ]  # fmt: skip
    assert b"Accept-Encoding: gzip, br" in await get(peer, job, "/head", headers=fields, raw=True)


# --- connections ----------------------------------------------------------------------------------------


async def test_one_connection_serves_many_requests(peer: Peer, job: str) -> None:
    for _ in range(20):
        await get(peer, job, "/zero=100000")
        await peer.http(job, "PUT", "/", body=[b"abc"])
    assert (await state(peer, job))["made"] == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_connection_that_the_job_has_closed_is_not_missed(peer: Peer, job: str, method: str) -> None:
    for _ in range(30):
        assert (await peer.http(job, "GET", "/then-close"))[2] == [b"kept"]
        if method == "POST":
            await until(peer, job, "lost", 1)
        body = [] if method == "GET" else [b"x", b"y"]
        status, _, got = await peer.http(job, method, "/", [], [], body)
        assert (status, b"".join(got)) == (200, b"".join(body))


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_kept_connection_that_ends_without_an_answer(peer: Peer, job: str, method: str) -> None:
    """Idempotent requests are sent again (RFC 9110 9.2.2), with all of the body; others get a new connection."""
    assert (await peer.http(job, "GET", "/then-drop"))[2] == [b"kept"]
    body = [] if method == "GET" else [b"x", b"y"]
    status, _, got = await peer.http(job, method, "/", [], [], body)
    assert (status, b"".join(got)) == (200, b"".join(body))
    assert (await state(peer, job))["read"] == {"GET": 0, "PUT": 4, "POST": 2}[method]


async def test_requests_at_once_do_not_mix(peer: Peer, job: str) -> None:
    calls = []
    for number in range(100):
        call = await request(peer, job, "/", [["Content-Length", "4"]])
        await peer.data(call, b"%04d" % number)
        await peer.data(call, b"")
        calls.append(call)
    for number, call in enumerate(calls):
        values, _ = await peer.outcome(call)
        assert values[2:] == [b"%04d" % number]


async def test_cancel_closes_the_jobs_connection(peer: Peer, job: str) -> None:
    for path in ("/endless", "/pieces"):
        lost = (await state(peer, job))["lost"]
        call = await request(peer, job, path, [["Transfer-Encoding", "chunked"]])
        await peer.data(call, b"x")
        assert (await peer.next_of(call))[2] == 200
        await peer.cancel(call)
        await until(peer, job, "lost", lost + 1)


async def test_cancel_before_the_answer(peer: Peer, job: str) -> None:
    call = await request(peer, job, "/silent")
    await peer.data(call, b"")
    await until(peer, job, "made", 2)
    await peer.cancel(call)
    await until(peer, job, "lost", 1)


@pytest.mark.parametrize("headers", [[], [["Content-Length", str(80 << 20)]]])
async def test_a_job_that_stops_reading_takes_no_memory(
    peer: Peer, job: str, headers: list[list[str]], tmp_path: Path
) -> None:
    """The first message comes before the connection is made; the rest of its data goes to the disk."""
    call = await request(peer, job, "/stuck", headers)
    for _ in range(5):
        await peer.data(call, bytes(16 << 20))  # more than the kernel takes
    assert await get(peer, job, "/until-close") == b"hello"
    async with asyncio.timeout(PATIENCE_S):
        while spooled(tmp_path) < 48 << 20:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await peer.cancel(call)


async def test_a_caller_that_reads_slowly_slows_its_job(settings: Settings) -> None:
    """The peer gives no credit beyond the first: the job cannot write on."""
    async with (
        running_agent(settings) as agent,
        peers.dial(agent.rpc_port, TOKEN, extensions=["flow"]) as peer,
    ):
        job = await start_program(peer, SERVER)
        call = await peer.start(BISTREAM, "http_request", job, "GET", "/endless", [], [])
        await peer.data(call, b"")
        got = 0
        while got < 256 << 10:
            value = (await peer.next_of(call))[2]
            got += len(value) if isinstance(value, bytes) else 64
        assert got <= (256 << 10) + BODY_CHUNK
        for _ in range(50):
            assert await get(peer, job, "/until-close") == b"hello"
        assert (await state(peer, job))["sent"] < 32 << 20  # no more than buffers of the kernel take
        await peer.send([10, call, 1 << 20])
        limit = (256 << 10) + (1 << 20)
        while got < limit:
            got += len((await peer.next_of(call))[2])
        assert got <= limit + BODY_CHUNK
        await peer.cancel(call)


async def test_a_coding_that_is_found_to_be_broken_while_the_caller_reads_slowly(agent: Agent) -> None:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"]) as peer:
        job = await start_program(peer, SERVER)
        call = await peer.start(BISTREAM, "http_request", job, "GET", f"/corrupt={4 << 20}", [], [])
        await peer.data(call, b"")
        got = 0
        while got < 256 << 10:
            value = (await peer.next_of(call))[2]
            got += len(value) if isinstance(value, bytes) else 64
        await peer.send([10, call, 8 << 20])
        values, failed = await broken(peer, call)
        assert values[-1] is False
        assert failed.cause == "BrokenResponseError"


# --- ports ----------------------------------------------------------------------------------------------

TWO_PORTS = """
import http.server, os, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = str(self.server.which).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
for which in range(2):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.which = which
    threading.Thread(target=server.serve_forever).start()
    endpoint, job = os.environ["DA__PAGENT__JOB_ENDPOINT"], os.environ["DA__PAGENT__JOB_ID"]
    urllib.request.urlopen(f"{endpoint}?job_id={job}&port={server.server_port}").read()
"""


async def test_a_job_with_two_ports(peer: Peer) -> None:
    job = (await peer.call("job_create"))["uid"]
    info = await peer.call("job_start", job, [sys.executable, "-c", TWO_PORTS], {}, port_expected_count=2)
    assert len(info["ports"]) == 2
    for which, port in enumerate(info["ports"]):
        assert await get(peer, job, "/", port=port) == str(which).encode()
    for options in ({}, {"port": 1}):
        with pytest.raises(CallFailed) as failed:
            await peer.http(job, **options)
        assert failed.value.cause == "ValueError"


@pytest.mark.parametrize("method", ["http_request", "ws_connect", "tcp_connect"])
async def test_a_job_without_a_server(peer: Peer, method: str) -> None:
    args: dict[str, list[Any]] = {"http_request": ["GET", "/", [], []], "ws_connect": ["/", [], []]}
    job = (await peer.call("job_create"))["uid"]
    for uid, cause in ((job, "ValueError"), ("unknown", "JobNotFoundError")):
        call = await peer.start(BISTREAM, method, uid, *args.get(method, []))
        _, failed = await broken(peer, call)
        assert failed.cause == cause
        if uid == job:
            assert failed.cause_message == "job does not contain a running server"


async def test_a_job_that_is_removed_is_not_there(peer: Peer, job: str) -> None:
    """Though its port is known from before."""
    assert await get(peer, job, "/until-close") == b"hello"
    await peer.call("job_remove", job)
    with pytest.raises(CallFailed) as failed:
        await peer.http(job)
    assert failed.value.cause == "JobNotFoundError"


async def test_nginx(peer: Peer) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("needs Debian's nginx")
    job = (await peer.call("job_create"))["uid"]
    config = (
        "user root; daemon off; pid nginx.pid; error_log stderr; events {} http { access_log off; gzip on;"
        " gzip_min_length 1; client_body_temp_path b; proxy_temp_path p;"
        " fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;"
        " client_max_body_size 1k; types { text/html html; } server { listen 127.0.0.1:$PORT; root .; } }"
    )
    script = f'echo "{config}" > n.conf; seq 100000 > a.html; exec {nginx} -p . -c n.conf'
    await peer.call("job_start", job, ["sh", "-c", script], {}, port="auto", ready="connect")
    for _ in range(3):
        status, headers, body = await peer.http(job, "GET", "/a.html", headers=[("Accept-Encoding", "gzip")])
        assert status == 200
        assert b"".join(body).split()[-1] == b"100000"
        assert ["Content-Type", "text/html"] in headers
    big = [b"x" * 65536] * 32
    status, _, _ = await peer.http(job, "POST", "/a.html", [], [("Content-Length", str(32 * 65536))], big)
    assert status == 413
    assert (await peer.http(job, "GET", "/none"))[0] == 404
