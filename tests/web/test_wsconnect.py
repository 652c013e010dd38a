"""``wsconnect``: a job's WebSocket joined to one elsewhere, through router and agent."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pagent.config.router import DialSettings
from pagent.router import Router
from tests.kit.agents import TOKEN
from tests.kit.field_agent import field_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import Answer, agent_of, ask, connected, router_settings, running_router

#: Sends its request, then echoes; ``close CODE`` and ``drop`` end the WebSocket. A file says how it was closed.
JOB = """
import asyncio, json, os
from websockets.asyncio.server import serve

async def talk(socket):
    request = socket.request
    await socket.send(json.dumps([request.path, [[n.lower(), v] for n, v in request.headers.raw_items()]]))
    try:
        async for message in socket:
            if message == "drop":
                socket.transport.abort()
            elif isinstance(message, str) and message.startswith("close "):
                await socket.close(int(message[6:]), "the job closes")
            else:
                await socket.send(message)
    finally:
        with open("closed.new", "w") as file:
            file.write(f"{socket.close_code} {socket.close_reason}")
        os.rename("closed.new", "closed")

def refuse(connection, request):
    if request.path == "/refuse":
        return connection.respond(418, "no")

async def main():
    async with serve(talk, "127.0.0.1", int(os.environ["PORT"]), process_request=refuse, max_size=None):
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    async with running_router() as running:
        yield running


@pytest.fixture
async def job(router: Router, tmp_path: Path) -> AsyncIterator[str]:
    """The path of a job on an agent of ours, whose sandboxes are below ``tmp_path``."""
    async with running_job(router, tmp_path) as path:
        yield path


@asynccontextmanager
async def running_job(router: Router, folder: Path) -> AsyncIterator[str]:
    async with agent_of(router, folder):
        agent = await connected(router, "A")
        uid = (await router.directory.create(agent, "job"))["uid"]
        await agent.call("job_start", uid, [sys.executable, "-c", JOB], {}, None, port="auto", ready="connect")
        yield f"/jobs/-/{uid}"


async def closed_in(folder: Path) -> str:
    """Wait until the job's WebSocket is closed; its code and reason."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := list(folder.glob("**/closed"))):  # noqa: ASYNC110, ASYNC240 - a file has no event
            await asyncio.sleep(0.01)
    return found[0].read_text()


async def join(router: Router, job: str, url: str, path: str = "ws", **more: Any) -> Answer:
    return await ask(router.control_port, "POST", f"{job}/wsconnect/{path}", {"url": url}, **more)


@asynccontextmanager
async def other(talk: Callable[[ServerConnection], Coroutine[Any, Any, Any]], **more: Any) -> AsyncIterator[Other]:
    """The other WebSocket's server; ``talk`` is its part."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def talking(socket: ServerConnection) -> None:
        try:
            result = await talk(socket)
            if not done.done():
                done.set_result(result)
        except ConnectionClosed as error:
            if not done.done():
                done.set_result((error.rcvd and error.rcvd.code, error.rcvd and error.rcvd.reason))

    async with serve(talking, "127.0.0.1", 0, max_size=None, **more) as server:
        yield Other(next(iter(server.sockets)).getsockname()[1], done)


class Other:
    """The port of the other side, and the result of its part: how it was closed, unless it returns."""

    def __init__(self, port: int, done: asyncio.Future[Any]) -> None:
        self.url = f"ws://127.0.0.1:{port}/there"
        self._done = done

    async def result(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await self._done


async def test_messages_pass_both_ways_and_the_job_gets_the_fields_that_are_for_it(router: Router, job: str) -> None:
    async def talk(socket: ServerConnection) -> Any:
        request = json.loads(await socket.recv())
        for message in ("text", b"\x00\xff", "", b"", "x" * 3_000_000):
            await socket.send(message)
            assert await socket.recv() == message
        return request

    fields = [
        *[("X-Mine", "1"), ("Cookie", "a=1; pagent-ticket=x"), ("Authorization", "Basic x")],
        *[("X-Forwarded-For", "6.6.6.6"), ("x_real_ip", "6.6.6.6"), ("X-Pagent-Token", "secret")],
        *[("Sec-WebSocket-Protocol", "p"), ("Sec-WebSocket-Key", "k"), ("Keep-Alive", "1")],
        *[("Connection", "close, X-Named"), ("X-Named", "1")],
    ]
    async with other(talk) as there:
        assert (await join(router, job, there.url, "a/b%20c?d=e&d=f", headers=fields)).status == 200
        path, got = await there.result()
    assert path == "/a/b%20c?d=e&d=f"
    names = [name for name, _ in got]
    assert [value for name, value in got if name == "cookie"] == ["a=1"]
    assert {"x-mine", "authorization", "host"} <= set(names)
    assert not {"x-pagent-token", "x_real_ip", "keep-alive", "x-named", "content-length", "content-type"} & set(names)
    assert "6.6.6.6" not in [value for _, value in got]
    assert "sec-websocket-protocol" not in names
    assert names.count("sec-websocket-key") == 1


@pytest.mark.parametrize(("said", "closed"), [("close 4001", (4001, "the job closes")), ("drop", (1011, ""))])
async def test_the_close_of_the_job_passes(said: str, closed: tuple[int, str], router: Router, job: str) -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(said)
        await socket.recv()

    async with other(talk) as there:
        assert (await join(router, job, there.url)).status == 200
        assert await there.result() == closed


async def test_the_close_of_the_other_side_passes(router: Router, job: str, tmp_path: Path) -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.close(4002, "enough")

    async with other(talk) as there:
        assert (await join(router, job, there.url)).status == 200
        assert await closed_in(tmp_path) == "4002 enough"


async def test_an_other_side_that_is_lost_closes_the_job(router: Router, job: str, tmp_path: Path) -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        socket.transport.abort()

    async with other(talk) as there:
        assert (await join(router, job, there.url)).status == 200
        assert await closed_in(tmp_path) == "1001 "


async def test_the_answer_does_not_wait_for_the_other_side(router: Router, job: str, tmp_path: Path) -> None:
    assert (await join(router, job, "ws://127.0.0.1:1/")).status == 200
    assert await closed_in(tmp_path) == "1001 "


async def test_the_other_side_may_not_lead_elsewhere(router: Router, job: str, tmp_path: Path) -> None:
    reached = asyncio.Event()

    def redirect(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(302, "")
        response.headers["Location"] = elsewhere.url.replace("ws:", "http:")
        return response

    async def found(socket: ServerConnection) -> None:
        reached.set()

    async with other(found) as elsewhere, other(found, process_request=redirect) as there:
        assert (await join(router, job, there.url)).status == 200
        assert await closed_in(tmp_path) == "1001 "
    assert not reached.is_set()


async def test_a_certificate_of_the_other_side_is_verified(
    router: Router, job: str, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    async def found(socket: ServerConnection) -> None:
        raise AssertionError("reached")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with other(found, ssl=context) as there:
        assert (await join(router, job, there.url.replace("ws:", "wss:"))).status == 200
        assert await closed_in(tmp_path) == "1001 "


async def test_a_job_that_refuses_is_400(router: Router, job: str) -> None:
    answer = await join(router, job, "ws://127.0.0.1:1/", "refuse")
    assert (answer.status, "418" in answer.text) == (400, True)


async def test_joins_end_with_the_router(tmp_path: Path) -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        router.end(0)
        router.end(0)
        stopping.append(asyncio.create_task(router.stop()))
        await socket.recv()

    stopping: list[asyncio.Task[None]] = []
    async with running_router() as router, running_job(router, tmp_path) as job, other(talk) as there:
        assert (await join(router, job, there.url)).status == 200
        assert await closed_in(tmp_path) == "1001 "
        await there.result()
        await stopping[0]


async def test_what_is_no_address_is_400(router: Router, job: str) -> None:
    for url in ("", "ftp://x/", "http://", "http://[", "//x", "ws://x:99999/", "ws://x:y/"):
        assert (await join(router, job, url)).status == 400, url


async def test_an_address_that_callers_may_not_have_dialled_is_403() -> None:
    settings = router_settings(dial=DialSettings(allow=("10.0.0.0/8",)))
    async with running_router(settings) as router, field_agent("F", router.server_port, TOKEN):
        agent = await connected(router, "F")
        job = f"/jobs/-/{(await router.directory.create(agent, 'job'))['uid']}"
        answer = await join(router, job, "http://127.0.0.1:1/")
        assert (answer.status, "dial.allow" in answer.text) == (403, True)
