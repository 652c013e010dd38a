"""Tokens that browsers present as subprotocols, and what the API for data does with tokens."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from pagent.access.subprotocol import is_token, offered, presented_tokens
from pagent.config.model import Settings
from pagent.http1.incoming import IncomingHead
from pagent.log import AUDIT_LOG
from tests.access.conftest import TOKENS, Closed, bearer
from tests.access.test_closed import reload
from tests.kit.browser import PROGRAM, running_browser
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import ask
from tests.web.v1.data import data_site

EXEC = "pagent.exec.v1"
OCTETS = ("Content-Type", "application/octet-stream")


def as_subprotocol(secret: str) -> str:
    return "pagent.bearer." + base64.urlsafe_b64encode(secret.encode()).decode().rstrip("=")


@asynccontextmanager
async def execute(
    closed: Closed, *subprotocols: str, command: str = "cat", **options: Any
) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{closed.port}/v1/jobs/{closed.job}/exec?arg=sh&arg=-c&arg={command}"
    offers = [Subprotocol(each) for each in subprotocols] or None
    async with asyncio.timeout(PATIENCE_S), connect(url, subprotocols=offers, compression=None, **options) as socket:
        yield socket


async def status_of(closed: Closed, *subprotocols: str, **options: Any) -> int:
    """The status of a handshake."""
    try:
        async with execute(closed, *subprotocols, **options):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_a_token_as_subprotocol(closed: Closed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with execute(closed, EXEC, as_subprotocol("secret-ann"), origin=Origin("https://portal.example")) as socket:
        assert socket.subprotocol == EXEC
        await socket.send(b"\0hello")
        assert await socket.recv() == b"\1hello"
        await socket.send(b"\0")
        assert await socket.recv() == '{"exit":0}'
    (line,) = [json.loads(each.getMessage()) for each in caplog.records if "job_exec" in each.getMessage()]
    assert (line["subject"], line["job"], line["agent"], line["result"]) == ("ann", closed.job, "A", "ok")
    for secret in ("secret-ann", as_subprotocol("secret-ann").removeprefix("pagent.bearer.")):
        # The library of this test logs what it sends.
        assert not [each for each in caplog.records if secret in each.getMessage() and "websockets" not in each.name]


async def test_which_tokens_may_execute(closed: Closed) -> None:
    ann, foreign = as_subprotocol("secret-ann"), Origin("https://portal.example")
    assert await status_of(closed, additional_headers=bearer("ann")) == 101
    assert await status_of(closed, EXEC, as_subprotocol("secret-any-exec")) == 101
    assert await status_of(closed, EXEC, as_subprotocol("secret-bob")) == 404
    assert await status_of(closed, EXEC, as_subprotocol("secret-any-files")) == 403
    assert await status_of(closed, EXEC, as_subprotocol("other")) == 401
    assert await status_of(closed, EXEC, "pagent.bearer.-") == 401
    assert await status_of(closed, EXEC, "pagent.bearer.") == 401
    assert await status_of(closed, EXEC) == 401
    assert await status_of(closed, EXEC, ann, ann) == 401
    assert await status_of(closed, EXEC, ann, additional_headers=bearer("ann")) == 401
    assert await status_of(closed, EXEC, additional_headers=bearer("ann"), origin=foreign) == 403
    assert await status_of(closed, ann) == 101


async def test_a_subprotocol_is_no_token_elsewhere(closed: Closed) -> None:
    fields = [("Sec-WebSocket-Protocol", as_subprotocol("secret-ann"))]
    for target in (f"/v1/jobs/{closed.job}", f"/v1/jobs/{closed.job}/logs", f"/jobs/-/{closed.job}/http/"):
        assert (await ask(closed.port, "GET", target, b"", fields)).status == 401


async def test_streams_count_against_the_quota(closed: Closed) -> None:
    job = await closed.create("limited")
    follow = f"GET /v1/jobs/{job}/logs?follow=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-limited\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", closed.port)
    writer.write(follow.encode())
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    for target in (f"/v1/jobs/{job}/logs", f"/v1/jobs/{job}/files/x", f"/v1/jobs/{job}/exec?arg=true"):
        assert (await closed.api("limited", "GET", target)).status == 429
    writer.close()


async def test_a_revoked_token_loses_its_streams(closed: Closed) -> None:
    follow = f"GET /v1/jobs/{closed.job}/logs?follow=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-ann\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", closed.port)
    writer.write(follow.encode())
    await reader.readuntil(b"\r\n\r\n")
    async with execute(closed, EXEC, as_subprotocol("secret-ann")) as socket:
        others = [each for each in TOKENS if each.name != "ann"]
        await reload(closed, *others, header=closed.settings.access.header)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionResetError):
                await reader.read()
    writer.close()


async def test_changes_of_files_are_in_the_audit_log(closed: Closed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT_LOG)
    url = f"/v1/jobs/{closed.job}/files/x"
    for method, status in (("PUT", 201), ("GET", 200), ("DELETE", 204), ("DELETE", 404)):
        answer = await ask(closed.port, method, url, b"x" if method == "PUT" else b"", [OCTETS, *bearer("ann")])
        assert answer.status == status
    lines = [json.loads(each.getMessage()) for each in caplog.records if each.name == AUDIT_LOG]
    found = [(line["operation"], line["result"]) for line in lines]
    assert found == [("file_upload", "ok"), ("file_remove", "ok"), ("file_remove", "404")]


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
async def test_a_page_of_another_origin_with_a_token(closed: Closed, tmp_path: Path) -> None:
    script = f"""
        const url = 'ws://127.0.0.1:{closed.port}/v1/jobs/{closed.job}/exec?arg=cat';
        const socket = new WebSocket(url, [{EXEC!r}, {as_subprotocol("secret-ann")!r}]);
        socket.binaryType = 'arraybuffer';
        const got = [];
        socket.onopen = () => {{ socket.send(new Uint8Array([0, 104, 105])); socket.send(new Uint8Array([0])); }};
        socket.onmessage = event => got.push(typeof event.data === 'string' ? event.data
            : Array.from(new Uint8Array(event.data)).join());
        const end = await new Promise(done => socket.onclose = event => done(event.code));
        return [socket.protocol, ...got, end].join(' ');
    """
    async with running_browser(tmp_path) as browser:
        page = await browser.open(f"http://localhost:{closed.port}/livez")
        assert await page.run(script) == f'{EXEC} 1,104,105 {{"exit":0}} 1000'


async def test_pages_of_other_origins_execute_nothing_in_an_open_router(settings: Settings) -> None:
    async with data_site(settings) as data:
        await data.start("exec sleep 600")
        opened = Closed(data.router, data.agent, data.uid)
        foreign = Origin("https://evil.example")
        assert await status_of(opened, EXEC, as_subprotocol("x"), origin=foreign) == 403
        assert await status_of(opened, EXEC, as_subprotocol("x")) == 101


@pytest.mark.parametrize(
    ("values", "names", "tokens"),
    [
        ([], [], []),
        (["a, b"], ["a", "b"], []),
        (["a ,\tb", ",c,"], ["a", "b", "c"], []),
        (["pagent.bearer.eA"], ["pagent.bearer.eA"], ["x"]),
        (["pagent.bearer.eA=="], ["pagent.bearer.eA=="], ["x"]),
        (["pagent.bearer._-8"], ["pagent.bearer._-8"], ["\udcff\udcef"]),
        (["pagent.bearer.e*8"], ["pagent.bearer.e*8"], ["\n"]),
        (["pagent.bearer.", "pagent.bearer.e"], ["pagent.bearer.", "pagent.bearer.e"], ["\n", "\n"]),
    ],
)
def test_reading_the_field(values: list[str], names: list[str], tokens: list[str]) -> None:
    head = IncomingHead("GET", "/", 1)
    head.fields = [["Sec-WebSocket-Protocol", value] for value in values]
    assert offered(head) == names
    assert presented_tokens(head) == tokens
    assert [each for each in names if is_token(each)] == [each for each in names if each.startswith("pagent.bearer.")]
