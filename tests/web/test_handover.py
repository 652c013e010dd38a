"""Requests to the HTTP API on connections that the users' side of a router hands over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from pagent.config.router import RouterControl
from pagent.log import ACCESS_LOG
from pagent.router import Router
from pagent.router_limits import INCOMING_FIELD_MAX, REST_S
from tests.kit.agents import TOKEN
from tests.kit.peer import dial
from tests.kit.routers import ask, connected, router_settings, running_router
from tests.kit.transfers import eventually
from tests.kit.wire import wire

INFO = b"GET /info HTTP/1.1\r\nHost: localhost\r\n\r\n"
CREATE = b"POST /jobs/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    async with running_router() as running:
        yield running


@pytest.mark.parametrize(("sent", "status"), [(INFO, 200), (CREATE, 400)])
async def test_a_half_closed_client_gets_its_answer(router: Router, sent: bytes, status: int) -> None:
    async with wire(router.control_port) as client:
        client.say(sent)
        client.end()
        assert (await client.answer()).status == status
        assert await client.is_closed()


async def test_a_client_that_ends_within_its_body_gets_none(router: Router) -> None:
    async with wire(router.control_port) as client:
        client.say(CREATE[:-1])
        client.end()
        assert await client.rest() == b""


@pytest.mark.parametrize("part", [b"GET /info?%b HTTP/1.1", b"GET /info HTTP/1.1\r\nCookie: %b"])
async def test_the_api_takes_what_the_reader_of_heads_takes(router: Router, part: bytes) -> None:
    room = INCOMING_FIELD_MAX - 16
    async with wire(router.control_port) as client:
        client.say(part % (b"x" * room) + b"\r\nHost: localhost\r\n\r\n")
        assert (await client.answer()).status == 200


async def test_the_rest_of_a_refused_body_is_not_waited_for(router: Router) -> None:
    async with wire(router.control_port) as client:
        client.say(CREATE.replace(b"localhost", b"elsewhere.example")[:-1])
        answer = await client.answer()
        assert (answer.status, answer.value("Connection")) == (403, "close")
        async with asyncio.timeout(5 * REST_S):
            assert await client.is_closed()


@pytest.mark.parametrize("cut", [0, 1, 9])
async def test_a_half_closed_client_that_has_sent_its_body_in_chunks(router: Router, cut: int) -> None:
    head = CREATE.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")[:-2]
    chunks = b"2\r\n{}\r\n0\r\n\r\n"
    async with wire(router.control_port) as client:
        for byte in chunks[: len(chunks) - cut]:
            client.say(head + bytes((byte,)))
            head = b""
            await asyncio.sleep(0)
        client.end()
        if cut:
            assert await client.rest() == b""
        else:
            assert (await client.answer()).status == 400


async def test_requests_under_way_at_the_end_of_the_router() -> None:
    """One whose body comes in time is answered; one whose agent does not answer gets 503 after the grace period."""
    settings = router_settings(control=RouterControl(drain_s=2.0))
    create = {"name": "x", "agent": {"type": "uid", "uid": "A"}}
    async with running_router(settings) as ending, dial(ending.server_port, TOKEN, uid="A"):
        link = await connected(ending, "A")
        waiting = asyncio.ensure_future(ask(ending.control_port, "POST", "/jobs/create", create))
        async with wire(ending.control_port) as late:
            late.say(CREATE.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")[:-1])
            assert (await late.head())[0] == 100
            await eventually(lambda: link.has_calls)
            stop = asyncio.ensure_future(ending.stop())
            await asyncio.sleep(0.1)
            late.say(CREATE[-1:])
            assert (await late.answer()).status == 400
        answer = await waiting
        assert (answer.status, answer["Retry-After"], answer.text) == (503, "2", "the router ends")
        await stop


async def test_the_second_end_does_not_wait_for_requests() -> None:
    settings = router_settings(control=RouterControl(drain_s=600.0))
    create = {"name": "x", "agent": {"type": "uid", "uid": "A"}}
    async with running_router(settings) as ending, dial(ending.server_port, TOKEN, uid="A"):
        link = await connected(ending, "A")
        waiting = asyncio.ensure_future(ask(ending.control_port, "POST", "/jobs/create", create))
        await eventually(lambda: link.has_calls)
        ending.end(0)
        stop = asyncio.ensure_future(ending.stop())
        await asyncio.sleep(0.1)
        assert not stop.done()
        ending.end(0)
        assert (await waiting).status == 503
        await stop


async def test_a_target_that_is_not_utf8(caplog: pytest.LogCaptureFixture) -> None:
    """The router answers, and its access log has a line of JSON."""
    caplog.set_level("INFO")
    settings = router_settings(control=RouterControl(access_log=True))
    async with running_router(settings) as router:
        for path, status in ((b"/in\xff", 404), (f"/jobs/{'0' * 32}/x/file/".encode() + b"\xe9\xc3\xa9", 404)):
            async with wire(router.control_port) as client:
                client.say(b"GET %s?%s HTTP/1.1\r\nHost: localhost\r\nX-A: \xe9\r\n\r\n" % (path, path))
                assert (await client.answer()).status == status
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == ACCESS_LOG]
    assert [line["status"] for line in lines] == [404, 404]
