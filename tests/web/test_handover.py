"""Requests to the HTTP API on connections that the users' side of a router hands over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pagent.limits import INCOMING_FIELD_MAX, REST_S
from pagent.router import Router
from tests.kit.routers import running_router
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
