"""Requests and answers through the users' side, a real agent and a real job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pagent.buffers import BODY_CHUNK
from pagent.errors import NotYetError, RequestRefusedError
from pagent.limits import STREAM_WINDOW_MAX
from pagent.router_limits import INCOMING_AHEAD_MAX, REST_MAX
from pagent.runtime.metrics import STATISTICS
from tests.http1.test_incoming import BAD_BODIES, BAD_HEADS
from tests.kit.directory import Front, running_front
from tests.kit.peer import PATIENCE_S
from tests.kit.wire import wire


def get(target: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


def post(target: str, body: bytes, *fields: str) -> bytes:
    return get(target, f"Content-Length: {len(body)}", *fields, method="POST") + body


def chunked(target: str, *pieces: bytes, trailers: bytes = b"") -> bytes:
    body = b"".join([b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in pieces])
    return get(target, "Transfer-Encoding: chunked", method="POST") + body + b"0\r\n" + trailers + b"\r\n"


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110 - the job reports it to no test
            await asyncio.sleep(0.01)


async def counts(front: Front, job: str) -> list[int]:
    """How many requests the job got, and how many of their clients it lost."""
    async with wire(front.port) as client:
        return [int(number) for number in (await client.ask(get(f"{job}/count"))).body.split()]


async def loses(front: Front, job: str, lost: int) -> None:
    """Wait until the job has lost so many clients."""

    async def has() -> bool:
        return (await counts(front, job))[1] == lost

    await until(has)


# --- requests ---------------------------------------------------------------------------------------


async def test_a_get(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        answer = await client.ask(get(f"{job}/head", "X-Request-Id: r"))
    assert (answer.status, [name for name, _ in answer.fields]) == (200, ["Content-Length"])
    assert answer.body.decode().split("\r\n") == [
        "GET /head HTTP/1.1",
        "Host: h",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: h",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Port: 80",
        "X-Real-Ip: 127.0.0.1",
        f"X-Forwarded-Prefix: {job}",
        "X-Request-Id: r",
        "",
        "",
    ]


async def test_a_connection_serves_one_request_after_the_other(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        for _ in range(3):
            assert (await client.ask(get(f"{job}/hello"))).body == b"hello"
            assert (await client.ask(post(f"{job}/length", b"abc"))).body == b"3"
            assert (await client.ask(chunked(f"{job}/length", b"abc", b"de"))).body == b"5"
            assert (await client.ask(get(f"{job}/hello", method="HEAD"))).fields[1] == ("Content-Length", "5")
        assert front.server.connections == 1


async def test_pipelined_requests_are_answered_in_order(front: Front, job: str) -> None:
    asked = [
        get(f"{job}/hello"),
        post(f"{job}/length", b"a" * 1000),
        chunked(f"{job}/length", b"x"),
        get(f"{job}/none"),
    ]
    async with wire(front.port) as client:
        client.say(b"".join(asked * 20))
        answers = [await client.answer() for _ in range(80)]
        assert [answer.body for answer in answers] == [b"hello", b"1000", b"1", b"not here"] * 20
    async with wire(front.port) as client:
        for byte in b"".join(asked):
            client.say(bytes((byte,)))
            await asyncio.sleep(0)
        assert [(await client.answer()).body for _ in asked] == [b"hello", b"1000", b"1", b"not here"]


async def test_bytes_sent_far_ahead_wait_in_the_kernel(front: Front, job: str) -> None:
    count = 2 * INCOMING_AHEAD_MAX // len(get(f"{job}/hello"))
    async with wire(front.port) as client:
        client.say(get(f"{job}/hello") * count)
        for _ in range(count):
            assert (await client.answer()).body == b"hello"


@pytest.mark.parametrize("pieces", [1, 100])
async def test_a_large_upload_and_a_large_download(front: Front, job: str, pieces: int) -> None:
    size = 3_000_000
    async with wire(front.port) as client:
        client.say(get(f"{job}/length", f"Content-Length: {size}", method="PUT"))
        for _ in range(pieces):
            client.say(bytes(size // pieces))
            await client.writer.drain()
        assert (await client.answer()).body == b"%d" % size
        assert len((await client.ask(get(f"{job}/bytes/{size}"))).body) == size


async def test_a_body_in_chunks_of_one_byte(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        assert (await client.ask(chunked(f"{job}/length", *[b"x"] * 5000))).body == b"5000"
        assert (await client.ask(chunked(f"{job}/length", b"x", trailers=b"X-Sum: 1\r\n"))).body == b"1"


async def test_the_routers_own_cookies(front: Front, job: str) -> None:
    """A job gets none of them, and sets none: not with an answer, an interim one, nor with a 101."""
    async with wire(front.port) as client:
        own = ("Cookie: a=1; pagent-ticket=x; b=2", "cookie: __Host-pagent-ticket=x", "X-Pagent-Token: x")
        lines = (await client.ask(get(f"{job}/head", *own))).body.decode().split("\r\n")
        assert [line for line in lines if line.lower().startswith(("cookie", "x-pagent"))] == ["Cookie: a=1; b=2"]
        assert (await client.ask(get(f"{job}/cookies"))).fields == [("Set-Cookie", "a=1"), ("Content-Length", "0")]
        client.say(get(f"{job}/cookies-early"))
        assert await client.head() == (103, [("Set-Cookie", "a=1")])
        assert (await client.answer()).status == 200
        client.say(get(f"{job}/cookies-101", *UPGRADE))
        assert await client.head() == (101, [("Connection", "Upgrade"), ("Upgrade", "Mine/2"), ("Set-Cookie", "a=1")])


async def test_trailers_of_requests(front: Front, job: str) -> None:
    """Those that a field of the head would be refused, replaced or believed as are left out."""
    trailers = (
        b"X-Sum: 1\r\nx-sum:  2 \r\nContent-Length: 9\r\nContent_Length: 9\r\nAuthorization: x\r\nCookie: x\r\n"
        b"X-Forwarded-For: 10.0.0.1\r\nx_real_ip: 10.0.0.1\r\nX-Pagent-Token: x\r\nX-Request-Id: x\r\nHost: x\r\n"
    )
    async with wire(front.port) as client:
        client.say(chunked(f"{job}/trailers", b"abc", trailers=trailers) + get(f"{job}/hello"))
        assert (await client.answer()).body == b"X-Sum: 1\r\nx-sum: 2\r\n"
        assert (await client.answer()).body == b"hello"
        for byte in chunked(f"{job}/trailers", b"abc", trailers=b"X-Sum: 1\r\n"):
            client.say(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await client.answer()).body == b"X-Sum: 1\r\n"


@pytest.mark.parametrize(("corpus", "asked"), [(BAD_HEADS, 0), (BAD_BODIES, 1)])
async def test_bad_requests(front: Front, job: str, corpus: list[tuple[str, bytes]], asked: int) -> None:
    """The same corpus as the reader's, on the target of a job where it leaves room for that."""
    for what, data in corpus:
        data = data.replace(b" / HTTP/1.1", f" {job}/wait HTTP/1.1".encode(), 1)
        async with wire(front.port) as client:
            client.say(data)
            answer = await client.answer()
            assert (answer.status, answer.value("Connection")) == (400, "close"), what
            assert await client.is_closed(), what
        assert len(front.jobs.asked) == asked, what
        front.jobs.asked.clear()
    assert front.elsewhere == []


async def test_a_bad_head_does_not_get_the_id_of_the_request_before(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/hello", "X-Request-Id: first") + b"?\r\n\r\n")
        assert (await client.answer()).status == 200
        answer = await client.answer()
        assert (answer.status, answer.value("X-Request-Id")) == (400, None)


async def test_other_requests_take_the_connection_along(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/hello") + b"GET /info HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.answer()).status == 200
        client.say(b"more!")
        assert await client.rest() == b"elsewhere: GET /info HTTP/1.1\r\nHost: h\r\n\r\nmore!"
    assert front.elsewhere[0].head.target == "/info"
    assert front.elsewhere[0].client.address == "127.0.0.1"
    assert front.server.connections == 0


@pytest.mark.parametrize("rest", ["/http", "/info", "/https/x", "/wsconnect/http/x", "?/http/x", "/x?/http/"])
async def test_requests_that_are_no_traffic_to_a_job(front: Front, rest: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"/jobs/a/b{rest}") + b"!")
        assert (await client.rest()).startswith(b"elsewhere: ")
    assert front.jobs.asked == []


# --- answers ----------------------------------------------------------------------------------------


async def test_framings_of_answers(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        answer = await client.ask(get(f"{job}/chunked"))
        assert (answer.body, answer.trailers) == (b"abcde", ["X-Sum: 1"])
        assert answer.fields == [("Trailer", "X-Sum"), ("Transfer-Encoding", "chunked")]
        assert (await client.ask(get(f"{job}/until-close"))).body == b"hello"
        for status in (204, 304):
            answer = await client.ask(get(f"{job}/status/{status}"))
            assert (answer.status, answer.fields) == (status, [("X-A", "1")])


@pytest.mark.parametrize(
    ("fields", "connection"),
    [("", "close"), ("Connection: keep-alive\r\n", "keep-alive"), ("Connection: close\r\n", "close")],
)
async def test_clients_of_http_1_0(front: Front, job: str, fields: str, connection: str) -> None:
    async with wire(front.port) as client:
        answer = await client.ask(f"GET {job}/hello HTTP/1.0\r\n{fields}\r\n".encode())
        assert (answer.body, answer.value("Connection")) == (b"hello", connection)
        if connection == "close":
            assert await client.is_closed()
        else:
            answer = await client.ask(f"GET {job}/chunked HTTP/1.0\r\n{fields}\r\n".encode())
            assert (answer.body, answer.value("Connection")) == (b"abcde", "close")
            assert answer.value("Transfer-Encoding") is None


async def test_a_client_that_wants_no_more_is_closed(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        answer = await client.ask(get(f"{job}/hello", "Connection: close") + get(f"{job}/hello"))
        assert (answer.body, answer.value("Connection")) == (b"hello", "close")
        assert await client.is_closed()


@pytest.mark.parametrize("path", ["/broken", "/broken-chunks"])
async def test_a_broken_answer_is_cut_off(front: Front, job: str, path: str) -> None:
    async with wire(front.port) as client:
        client.say(get(job + path))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
            await client.answer()


async def test_an_answer_that_breaks_off_before_it_is_sent_is_a_502(front: Front, job: str) -> None:
    """Browsers repeat a request, also a POST, if a kept connection ends without a byte of an answer."""
    async with wire(front.port) as client:
        assert (await client.ask(get(f"{job}/hello"))).status == 200
        counted = STATISTICS.responses[2], STATISTICS.responses[5]
        answer = await client.ask(post(f"{job}/broken-start", b"body"))
        assert (answer.status, answer.body[:13]) == (502, b"Proxy error:\n")
        assert (STATISTICS.responses[2], STATISTICS.responses[5]) == (counted[0], counted[1] + 1)


async def test_the_agents_502_passes(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        answer = await client.ask(get(f"{job}/nonsense"))
        assert answer.status == 502
        assert answer.body.startswith(b"502 Bad Gateway: ")
        assert (await client.ask(get(f"{job}/hello"))).status == 200


async def test_interim_answers_pass(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/interim"))
        assert await client.head() == (103, [("link", "y")])
        assert (await client.answer()).body == b"hi"
        client.say(get(f"{job}/expect", "Expect: 100-continue", "Content-Length: 3", method="PUT"))
        assert await client.head() == (100, [])
        client.say(b"abc")
        assert (await client.answer()).body == b"ABC"
        client.say(f"GET {job}/interim HTTP/1.0\r\n\r\n".encode())
        assert (await client.head())[0] == 200


async def test_the_head_of_an_answer_does_not_wait_for_its_body(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/events"))
        assert await client.head() == (
            200,
            [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")],
        )


async def test_after_an_early_answer_a_little_of_the_body_is_read(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/refuse", "Content-Length: 1000", method="POST"))
        assert (await client.answer()).status == 413
        client.say(bytes(1000))  # in time: the connection goes on
        assert (await client.ask(get(f"{job}/hello"))).body == b"hello"


async def test_an_upload_after_the_rest_of_another_is_not_cut_off(front: Front, job: str) -> None:
    """The rest of a body after an early answer counts for that request only."""
    async with wire(front.port) as client:
        for _ in range(20):
            client.say(get(f"{job}/refuse", f"Content-Length: {REST_MAX + 1}", method="POST"))
            assert (await client.answer()).status == 413
            client.say(bytes(REST_MAX + 1))
            assert (await client.ask(post(f"{job}/slow-length", bytes(8_000_000)))).body == b"8000000"


async def test_after_an_early_answer_the_connection_ends_if_much_of_the_body_is_left(front: Front, job: str) -> None:
    front.jobs.error = RequestRefusedError(404, "no such job")
    async with wire(front.port) as client:
        client.say(get(f"{job}/refuse", f"Content-Length: {100 * REST_MAX}", method="POST"))
        answer = await client.answer()
        assert (answer.status, answer.body, answer.value("Connection")) == (404, b"no such job", "close")
        client.say(bytes(2 * REST_MAX))
        assert await client.is_closed()


async def test_after_an_early_answer_the_body_is_not_waited_for(front: Front, job: str) -> None:
    front.jobs.error = RequestRefusedError(404, "no such job")
    async with wire(front.port) as client:
        client.say(get(f"{job}/refuse", "Content-Length: 10", method="POST"))
        assert (await client.answer()).status == 404
        assert await client.is_closed()


# --- back pressure ----------------------------------------------------------------------------------


async def test_a_client_that_does_not_read_stops_its_job_only(front: Front, job: str) -> None:
    size = 200_000_000
    async with wire(front.port) as slow, wire(front.port) as other:
        slow.say(get(f"{job}/bytes/{size}"))
        status, _ = await slow.head()
        assert status == 200
        for _ in range(20):
            assert (await other.ask(get(f"{job}/hello"))).body == b"hello"
        link = front.jobs.link
        assert link is not None
        call = next(iter(link.connection.outgoing.values()))
        assert call.stream is not None
        receiving = call.stream.receiving

        async def is_kept() -> bool:
            return receiving.kept_bytes > 0

        await until(is_kept)
        # The window grows while the kernel still takes the data, and the sender may exceed it by one message.
        assert receiving.kept_bytes <= STREAM_WINDOW_MAX + BODY_CHUNK


# --- clients that go --------------------------------------------------------------------------------


async def test_a_client_that_resets_cancels_the_call(front: Front, job: str) -> None:
    for path in ("/wait", "/events"):
        before = (await counts(front, job))[1]
        async with wire(front.port) as client:
            client.say(get(job + path))
            if path == "/events":
                await client.head()
            else:
                await asked(front, job, 1)
            client.reset()
            await loses(front, job, before + 1)


async def test_a_client_that_ends_an_answer_under_way_cancels_the_call(front: Front, job: str) -> None:
    """A half-closed client that reads on would get nothing for long, so the connection ends."""
    async with wire(front.port) as client:
        client.say(get(f"{job}/events"))
        await client.head()
        client.end()
        await loses(front, job, 1)


async def test_a_client_that_is_gone_before_the_answer_cancels_the_call(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/wait"))
        await asked(front, job, 1)
        client.writer.close()
        await loses(front, job, 1)


@pytest.mark.parametrize("path", ["/hello", "/slow"])
async def test_a_half_closed_client_gets_its_answer(front: Front, job: str, path: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/hello") + get(job + path))
        client.end()
        assert (await client.answer()).body == b"hello"
        assert (await client.answer()).body == path[1:].encode()
        assert await client.is_closed()


async def test_a_half_closed_client_gets_a_large_answer(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/bytes/3000000"))
        client.end()
        assert len((await client.answer()).body) == 3_000_000


async def test_a_client_that_ends_within_its_body_cancels_the_call(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/wait", "Content-Length: 10", method="POST"))
        await asked(front, job, 1)
        client.say(b"x")
        client.end()
        assert await client.is_closed()
        await loses(front, job, 1)


async def asked(front: Front, job: str, count: int) -> None:
    """Wait until the job has got so many requests."""

    async def has() -> bool:
        return (await counts(front, job))[0] == count

    await until(has)


# --- time limits ------------------------------------------------------------------------------------


async def test_time_limits(front: Front, job: str) -> None:
    async with running_front(front.jobs, idle_s=0.4) as quick, wire(quick.port) as client:
        assert await client.is_closed()
    async with running_front(front.jobs, idle_s=2) as quick, wire(quick.port) as client:
        assert (await client.ask(get(f"{job}/hello"))).status == 200
        assert await client.is_closed()
    async with running_front(front.jobs, head_s=0.2, body_s=0.3) as quick:
        async with wire(quick.port) as client:
            client.say(b"GET / HT")
            answer = await client.answer()
            assert (answer.status, answer.value("Connection")) == (408, "close")
            assert await client.is_closed()
        async with wire(quick.port) as client:
            client.say(get(f"{job}/length", "Content-Length: 10", method="POST") + b"x")
            assert (await client.answer()).status == 408
            assert await client.is_closed()
        async with wire(quick.port) as client:
            assert (await client.ask(get(f"{job}/slow"))).body == b"slow"


async def test_a_slow_body_is_not_late(front: Front, job: str) -> None:
    async with running_front(front.jobs, head_s=2, idle_s=2, body_s=2) as quick, wire(quick.port) as client:
        client.say(get(f"{job}/length", "Content-Length: 4", method="POST"))
        for _ in range(4):
            await asyncio.sleep(0.6)
            client.say(b"x")
        assert (await client.answer()).body == b"4"


# --- waiting ----------------------------------------------------------------------------------------


async def test_a_request_waits_for_its_job(front: Front, job: str) -> None:
    assert front.jobs.link is not None
    front.jobs.error = NotYetError(503, "not yet")
    async with wire(front.port) as client:
        client.say(post(f"{job}/length", bytes(3 * INCOMING_AHEAD_MAX)) + get(f"{job}/hello"))
        await front.jobs.waiting.wait()
        front.jobs.error = None
        front.jobs.found.set_result(front.jobs.link)
        assert (await client.answer()).body == b"%d" % (3 * INCOMING_AHEAD_MAX)
        assert (await client.answer()).body == b"hello"


async def test_a_job_that_is_waited_for_in_vain(front: Front, job: str) -> None:
    front.jobs.error = NotYetError(503, "not yet")
    async with wire(front.port) as client:
        client.say(get(f"{job}/hello"))
        await front.jobs.waiting.wait()
        front.jobs.found.set_exception(RequestRefusedError(503, "the agent is away", retry_after_s=2))
        answer = await client.answer()
        assert (answer.status, answer.body, answer.value("Retry-After")) == (503, b"the agent is away", "2")
        front.jobs.error = None
        assert (await client.ask(get(f"{job}/hello"))).status == 200


async def test_a_client_that_goes_is_not_waited_for(front: Front, job: str) -> None:
    front.jobs.error = NotYetError(503, "not yet")
    async with wire(front.port) as client:
        client.say(get(f"{job}/hello"))
        await front.jobs.waiting.wait()
        client.reset()

        async def is_gone() -> bool:
            return front.server.connections == 0

        await until(is_gone)


async def test_a_link_that_is_lost(front: Front, job: str) -> None:
    """Nothing was sent: the next link is waited for. What was under way is a 502, or cut off."""
    link = front.jobs.link
    assert link is not None
    async with wire(front.port) as before, wire(front.port) as within, wire(front.port) as after:
        before.say(get(f"{job}/wait"))
        within.say(get(f"{job}/events"))
        await within.head()
        await asked(front, job, 2)
        link.connection.link.abort("the test cuts it")
        answer = await before.answer()
        assert (answer.status, b"the link to the agent was lost" in answer.body) == (502, True)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await within.reader.readexactly(1)
        after.say(get(f"{job}/hello"))
        await front.jobs.waiting.wait()
        front.jobs.found.set_exception(RequestRefusedError(503, "the agent is away", retry_after_s=2))
        assert (await after.answer()).status == 503


# --- refusals ---------------------------------------------------------------------------------------


async def test_the_gate_judges_before_anything_is_done(front: Front, job: str) -> None:
    front.gate.error = RequestRefusedError(401, "a token is needed")
    async with wire(front.port) as client:
        answer = await client.ask(get(f"{job}/hello", "X-Pagent-Token: s"))
        assert (answer.status, answer.value("WWW-Authenticate")) == (401, "Bearer")
    assert front.jobs.asked == []
    operation, address, head, client_of = front.gate.judged[0]
    assert operation == "proxy"
    assert address is not None
    assert address.job_uid in job
    assert head.own == [["X-Pagent-Token", "s"]]
    assert (client_of.address, client_of.trusted, client_of.secure) == ("127.0.0.1", False, False)


async def test_an_unknown_job_has_the_recorded_text(front: Front) -> None:
    async with wire(front.port) as client:
        answer = await client.ask(get(f"/jobs/{'0' * 32}/none/http/"))
    assert answer.status == 502
    assert answer.body.decode() == (
        "Proxy error:\n----------------------------------------\nError type: RpcMethodError\n\n"
        "Error message: job 'none' is not found\n"
    )
    assert answer.value("Cache-Control") == "no-store, must-revalidate"
    assert answer.value("Content-Type") == "text/plain; charset=utf-8"


async def test_errors_for_browsers(front: Front, job: str) -> None:
    front.jobs.error = RequestRefusedError(503, "<b>", retry_after_s=3)
    async with wire(front.port) as client:
        answer = await client.ask(get(f"{job}/", "Accept: text/html,*/*", "X-Request-Id: r"))
        assert answer.value("Content-Type") == "text/html; charset=utf-8"
        assert answer.value("X-Request-Id") == "r"
        assert b'<meta http-equiv="refresh" content="3">' in answer.body
        assert b"&lt;b&gt;" in answer.body
        assert b"<script" not in answer.body
        assert len(answer.body) < 1500
        front.jobs.error = RequestRefusedError(404, "no")
        answer = await client.ask(get(f"{job}/", "Accept: text/html"))
        assert b"refresh" not in answer.body
        answer = await client.ask(get(f"{job}/", "Accept: text/html", method="HEAD"))
        assert (answer.status, answer.body) == (404, b"")
        front.jobs.error = RequestRefusedError(503, "not ready")
        front.jobs.states[job.split("/")[3]] = "PENDING"
        answer = await client.ask(get(f"{job}/", "Accept: text/html"))
        assert b"This program is starting" in answer.body
        answer = await client.ask(get(f"{job}/"))
        assert answer.body == b"not ready"


# --- upgrades ---------------------------------------------------------------------------------------

UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: other, mine/2")


async def test_an_upgrade_is_a_tunnel(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/echo", *UPGRADE) + b"early ")
        assert await client.head() == (101, [("Connection", "Upgrade"), ("Upgrade", "Mine/2"), ("X-A", "1")])
        assert await client.reader.readexactly(12) == b"first early "
        client.say(b"a" * 1_000_000)
        assert await client.reader.readexactly(1_000_000) == b"a" * 1_000_000
        client.end()
        assert await client.rest() == b" last"
    assert front.server.connections == 0


async def test_bytes_after_a_refused_upgrade_are_the_next_request(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/hello", *UPGRADE) + get(f"{job}/none"))
        assert (await client.answer()).body == b"hello"
        assert (await client.answer()).body == b"not here"


async def test_h2c_is_no_upgrade(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        offer = get(f"{job}/head", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x")
        answer = await client.ask(offer)
        assert b"HTTP2-Settings" not in answer.body
        assert b"Upgrade" not in answer.body


async def test_a_tunnel_that_the_job_resets_is_reset(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/reset", "Connection: Upgrade", "Upgrade: mine"))
        assert (await client.head())[0] == 101
        client.say(b"x")
        assert await client.is_closed()


async def test_a_tunnel_whose_client_resets_is_reset(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(get(f"{job}/echo", *UPGRADE))
        assert (await client.head())[0] == 101
        client.reset()
        await loses(front, job, 0)
    await until(lambda: _no_calls(front))


async def _no_calls(front: Front) -> bool:
    assert front.jobs.link is not None
    return not front.jobs.link.connection.outgoing


async def test_bytes_beyond_ascii_pass_as_they_are(front: Front, job: str) -> None:
    """In the target, fields and trailers, both ways: UTF-8, Latin-1, and any other byte."""
    for data in (b"\xe9", "\u00e9".encode(), bytes(range(0x80, 0x100))):
        async with wire(front.port) as client:
            client.say(b"GET %s/head?%s HTTP/1.1\r\nHost: h\r\nX-A: %s\r\n\r\n" % (job.encode(), data, data))
            body = (await client.answer()).body
            assert b"GET /head?%s HTTP/1.1\r\n" % data in body
            assert b"\r\nX-A: %s\r\n" % data in body
            client.say(chunked(f"{job}/trailers", b"x", trailers=b"X-Sum: %s\r\n" % data))
            assert (await client.answer()).body == b"X-Sum: %s\r\n" % data
            client.say(b"POST %s/write HTTP/1.1\r\nHost: h\r\n" % job.encode())
            answer = (
                b"HTTP/1.1 103 x\r\nX-A: %s\r\n\r\nHTTP/1.1 200 OK\r\nLocation: /%s\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
                b"0\r\nX-Sum: %s\r\n\r\n" % (data, data, data)
            )
            client.say(b"Content-Length: %d\r\n\r\n" % len(answer) + answer)
            got = b"".join([await client.reader.readuntil(b"\r\n\r\n") for _ in range(3)])
            assert (got.count(data), b"\r\nLocation: /%s\r\n" % data in got) == (3, True)


async def test_a_request_without_a_host(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(f"GET {job}/head HTTP/1.0\r\n\r\n".encode())
        lines = (await client.rest()).partition(b"\r\n\r\n")[2].decode().split("\r\n")
    assert [line for line in lines if line.startswith("X-Forwarded-")] == [
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Port: 80",
        f"X-Forwarded-Prefix: {job}",
    ]
