from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

import pytest

from pagent.errors import RequestRefusedError
from pagent.front.access_log import trace_id
from pagent.http1.incoming import read_head
from tests.front.test_field import TARGET, scripted_front
from tests.front.test_user import UPGRADE, get, post, until
from tests.kit.directory import Front, running_front
from tests.kit.wire import wire


async def test_each_request_is_a_line(front: Front, job: str, caplog: pytest.LogCaptureFixture) -> None:
    def lines() -> list[dict[str, Any]]:
        return [json.loads(record.getMessage()) for record in caplog.records if record.name == "pagent.access"]

    caplog.set_level(logging.INFO)
    async with running_front(front.jobs, access_log=True) as logging_front:
        async with wire(logging_front.port) as client:
            await client.ask(post(f"{job}/length?secret=1", b"abc", "X-Request-Id: r"))
            logging_front.jobs.error = RequestRefusedError(404, "no")
            await client.ask(get(f"{job}/hello"))
            logging_front.jobs.error = None
            client.say(get(f"{job}/broken"))
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await client.answer()
        async with wire(logging_front.port) as client:
            client.say(get(f"{job}/events"))
            await client.head()
            client.reset()
            await until(lambda: _at(0, logging_front))
        async with wire(logging_front.port) as client:
            client.say(get(f"{job}/echo", *UPGRADE))
            await client.head()
            client.end()
            await client.rest()
            await until(lambda: _at(0, logging_front))
    found = lines()
    assert [(line["status"], line["cut"]) for line in found] == [
        (200, None),
        (404, "router"),
        (200, "agent"),
        (200, "client"),
        (101, None),
    ]
    first = found[0]
    assert {
        name: first[name] for name in ("id", "client", "subject", "agent", "method", "path", "received", "sent")
    } == {
        "id": "r",
        "client": "127.0.0.1",
        "subject": None,
        "agent": "agent",
        "method": "POST",
        "path": "/length",
        "received": 3,
        "sent": 1,
    }
    assert first["job"] in job
    assert first["seconds"] > 0
    assert "secret" not in caplog.text


async def test_a_piece_that_is_refused_does_not_count_as_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pagent.access")
    async with scripted_front(access_log=True) as (front, script), wire(front.port) as client:
        script.answer = [200, [["Content-Length", "5"]], b"123", b"456"]
        client.say(get(f"{TARGET}/"))
        await client.head()
        assert await client.reader.readexactly(3) == b"123"
        assert await client.is_closed()
    (line,) = [json.loads(record.getMessage()) for record in caplog.records if record.name == "pagent.access"]
    assert (line["sent"], line["cut"]) == (3, "agent")


async def _at(count: int, front: Front) -> bool:
    return front.server.connections == count


async def test_it_is_off_by_default(front: Front, job: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with wire(front.port) as client:
        await client.ask(get(f"{job}/hello"))
    assert "pagent.access" not in {record.name for record in caplog.records}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], "4bf92f3577b34da6a3ce929d0e0e4736"),
        (["01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"], "4bf92f3577b34da6a3ce929d0e0e4736"),
        ([], None),
        ([""], None),
        (["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"], None),
        (["00-00000000000000000000000000000000-00f067aa0ba902b7-01"], None),
        (["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], None),
        (["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"], None),
        (["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] * 2, None),
    ],
)
def test_the_trace_id_of_a_request(values: list[str], found: str | None) -> None:
    fields = "".join(f"traceparent: {value}\r\n" for value in values)
    assert trace_id(read_head(f"GET / HTTP/1.1\r\nHost: a\r\n{fields}".rstrip().encode())) == found
