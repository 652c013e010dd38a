"""Requests and answers through the users' side, a real agent and a real job."""

from __future__ import annotations

import sys

import pytest

from tests.kit.directory import Front
from tests.kit.programs import ECHO
from tests.kit.wire import wire

CONNECTION = "0" * 32


@pytest.fixture
async def job(front: Front) -> str:
    """The start of the targets of a job that answers with what it got."""
    link = front.jobs.link
    assert link is not None
    job = (await link.connection.call("job_create", "test"))["uid"]
    command = [sys.executable, "-c", ECHO, "{port}"]
    await link.connection.call("job_start", job, command, {}, port="auto", ready="connect")
    return f"/jobs/{CONNECTION}/{job}/http"


async def test_a_get(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        answer = await client.ask(f"GET {job}/a?b HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n\r\n".encode())
    assert (answer.status, [name for name, _ in answer.fields]) == (200, ["Content-Length"])
    assert answer.body.decode().split("\r\n") == [
        "GET /a?b HTTP/1.1",
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


async def test_other_requests_take_the_connection_along(front: Front, job: str) -> None:
    async with wire(front.port) as client:
        client.say(f"GET {job}/ HTTP/1.1\r\nHost: h\r\n\r\nGET /info HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert (await client.answer()).status == 200
        client.say(b"more!")
        assert await client.rest() == b"elsewhere: GET /info HTTP/1.1\r\nHost: h\r\n\r\nmore!"
    assert front.elsewhere[0].head.target == "/info"
    assert front.elsewhere[0].client.address == "127.0.0.1"
    assert front.server.connections == 0
