"""Recorded exchanges with an older router, made again with an agent: it answers each as it was recorded.

What names a job or a moment is the agent's own, and a body may come in other pieces. The rest is compared.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import connect

from pagent.agent import Agent
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import SUBPROTOCOL, Peer

FOLDER = Path(__file__).resolve().parent.parent / "captures"

START, RESULT, ANSWER = 2, 7, 8

#: Keys of an info, and fields of a response, that older routers rely on.
INFO = ("uid", "name", "state", "sender")
FIELDS = ("Content-Type", "Content-Length")

#: The job that the recordings call ``server.py``.
SERVER = """
import asyncio, os, urllib.parse, urllib.request
from aiohttp import web
async def hello(request):
    assert dict(request.query) and request.headers["X-Test"] == "1" and request.headers["Host"] == "router.example"
    assert request.query.getall("q") == ["a b", "\\u00fc"]
    return web.Response(text="hello world!")
async def upload(request):
    return web.Response(text=str(len(await request.read())))
async def big(request):
    response = web.StreamResponse(headers={"Content-Length": "268435456"})
    await response.prepare(request)
    await response.write(b"x" * 1000000)
    await asyncio.Event().wait()
async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await (socket.send_str if message.type is web.WSMsgType.TEXT else socket.send_bytes)(message.data)
    return socket
async def main():
    application = web.Application()
    application.add_routes([web.get("/", hello), web.get("/big", big), web.post("/upload", upload)])
    application.add_routes([web.get("/ws_echo", echo)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    report = {"job_id": os.environ["DA__PAGENT__JOB_ID"], "port": runner.addresses[0][1]}
    url = os.environ["DA__PAGENT__JOB_ENDPOINT"] + "?" + urllib.parse.urlencode(report)
    await asyncio.to_thread(urllib.request.build_opener(urllib.request.ProxyHandler({})).open, url)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def recorded(name: str) -> list[list[Any]]:
    """Return the messages of a recording, in their order; of a bin that is cut short the rest."""
    found = []
    for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "message" in entry:
            whole = "..." not in entry["hex"]
            found.append(msgpack.unpackb(bytes.fromhex(entry["hex"])) if whole else entry["message"])
    return found


class Replay:
    """A link on which the calls of the recordings are made again."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        #: The jobs' uids, by those in the recordings.
        self.jobs: dict[str, str] = {}

    async def call(self, name: str) -> list[tuple[list[Any], list[Any], Any]]:
        """Make the calls of one recording. Return the recorded messages, the stream messages and the result of each."""
        calls = []
        messages = recorded(name)
        for start in [message for message in messages if message[0] == START]:
            rest = [message for message in messages if message[1] == start[1]]
            calls.append((rest[1:], *await self._make(start, rest[1:])))
        return calls

    async def _make(self, start: list[Any], rest: list[list[Any]]) -> tuple[list[Any], Any]:
        _, _, kind, method, args, kwargs = start
        call_id = await self.peer.start(kind, method, *self._ours(args), **kwargs)
        values: list[Any] = []
        for message in rest:
            match message[0]:
                case 3:  # CANCEL
                    await self.peer.cancel(call_id)
                    return values, None
                case 4:  # DATA
                    await self.peer.data(call_id, archive() if isinstance(message[2], dict) else message[2])
                case 5:  # END
                    await self.peer.end(call_id)
                case 8:  # ANSWER
                    values.append(await self._next(call_id))
        result = await self.peer.next_of(call_id)
        while result[0] == ANSWER:  # a body may come in other pieces
            values.append(result[2])
            result = await self.peer.next_of(call_id)
        return values, result

    async def _next(self, call_id: int) -> Any:
        message = await self.peer.next_of(call_id)
        assert message[0] == ANSWER, message
        return message[2]

    def _ours(self, args: list[Any]) -> list[Any]:
        if len(args) > 1 and args[1] == ["python3", "server.py"]:
            args = [args[0], [sys.executable, "-c", SERVER], *args[2:]]
        return [self.jobs.get(arg, arg) if isinstance(arg, str) else arg for arg in args]


def archive() -> bytes:
    """A tar with a Python file and another one, as large as the recorded one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("a.py", "b.txt"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return buffer.getvalue()


def value_of(message: list[Any]) -> Any:
    assert message[0] == RESULT
    assert message[3:] == [0, None], message
    return msgpack.unpackb(message[2])


def error_of(message: list[Any]) -> tuple[int, str, str]:
    """Status, class and text of an error."""
    assert message[0] == RESULT
    assert message[2] is None
    status, (_, cause, text, _) = message[3:]
    return status, cause, text


@pytest.fixture
async def replay(agent: Agent) -> AsyncIterator[Replay]:
    async with peers.dial(agent.rpc_port, TOKEN, uid="router-1") as peer:
        yield Replay(peer)


async def create(replay: Replay) -> None:
    """The job of a recording that is used by others."""
    ((before, values, result), *_) = await replay.call("job-create-info-count")
    assert values == []
    replay.jobs[value_of(before[0])["uid"]] = value_of(result)["uid"]


async def serve(replay: Replay) -> None:
    """The server of the recordings, whose creation was not recorded."""
    uid = recorded("job-start-server")[0][4][0]
    replay.jobs[uid] = (await replay.peer.call("job_create"))["uid"]
    ((before, values, result),) = await replay.call("job-start-server")
    assert values == []
    was, now = value_of(before[0]), value_of(result)
    assert (now["state"], now["name"]) == (was["state"], was["name"])


async def test_unary_calls(replay: Replay) -> None:
    await create(replay)
    calls = await replay.call("job-create-info-count")
    for before, _, result in calls[:2]:
        was, now = value_of(before[0]), value_of(result)
        assert list(was) == [key for key in now if key in INFO]
        assert (now["name"], now["state"]) == (was["name"], was["state"])
        assert now["sender"] == was["sender"] | {"name": "a router"}
    assert value_of(calls[2][2]) == 2  # two jobs were created here


async def test_errors(replay: Replay) -> None:
    missing, unknown, wrong = await replay.call("unary-errors")
    assert error_of(missing[2])[0] == error_of(missing[0][0])[0] == 20
    assert error_of(unknown[2]) == error_of(unknown[0][0])
    assert error_of(wrong[2])[:2] == error_of(wrong[0][0])[:2] == (10, "TypeError")


async def test_files_and_a_batch_job(replay: Replay) -> None:
    await create(replay)
    for name in ("file-upload", "job-start-wait", "file-download", "archive-upload"):
        for before, values, result in await replay.call(name):
            was, now = value_of(before[-1]), value_of(result)
            assert values == [message[2] for message in before if message[0] == ANSWER]
            if isinstance(was, dict):
                assert now["name"] == was["name"]
            else:
                assert now == was
    ((before, values, result),) = await replay.call("archive-download")
    assert values[0] == before[0][2] == {"size": 10240}
    with tarfile.open(fileobj=io.BytesIO(b"".join(values[1:]))) as tar:
        assert tar.getnames() == ["a.py"]
    assert value_of(result) == value_of(before[-1])
    for name in ("file-upload-absolute", "file-download-missing"):
        ((before, values, result),) = await replay.call(name)
        assert values == []
        assert error_of(result)[:2] == error_of(before[-1])[:2]


async def test_http(replay: Replay) -> None:
    await serve(replay)
    for name in ("http-get", "http-post"):
        ((before, values, result),) = await replay.call(name)
        was = [message[2] for message in before if message[0] == ANSWER]
        assert values[0] == was[0] == 200
        assert [pair for pair in values[1] if pair[0] in FIELDS] == [pair for pair in was[1] if pair[0] in FIELDS]
        assert b"".join(values[2:]) == b"".join(was[2:])
        assert value_of(result) is None


async def test_a_cancelled_call_has_no_result(replay: Replay) -> None:
    await serve(replay)
    ((_, values, _),) = await replay.call("http-cancel")
    assert values[0] == 200
    assert ["Content-Length", "268435456"] in values[1]
    ((_, values, _),) = await replay.call("http-post")  # the link stays open
    assert values[0] == 200


async def test_websockets(replay: Replay) -> None:
    await serve(replay)
    ((before, values, result),) = await replay.call("ws-echo")
    assert values == [message[2] for message in before if message[0] == ANSWER]
    assert value_of(result) is None
    ((before, values, result),) = await replay.call("ws-rejected")
    assert values == [False]
    assert error_of(result)[0] == error_of(before[-1])[0] == 10
    assert re.search(r"\b404\b", error_of(result)[2])


async def test_an_info_from_before_the_removal(replay: Replay) -> None:
    await create(replay)
    ((before, _, result),) = await replay.call("job-remove")
    assert value_of(result).keys() >= value_of(before[0]).keys()
    assert value_of(result)["state"] == "NEW"


@pytest.mark.parametrize("name", ["handshake-rejected-missing", "handshake-rejected-token", "handshake"])
async def test_handshakes(agent: Agent, name: str) -> None:
    (hello, *answers) = recorded(name)
    if answers:
        hello[2][2]["auth"]["token"] = TOKEN
    async with connect(
        f"ws://127.0.0.1:{agent.rpc_port}/rpc/v1", subprotocols=[SUBPROTOCOL], compression=None
    ) as socket:
        peer = Peer(socket)
        await peer.send(hello)
        if not answers:
            await socket.wait_closed()
            assert socket.close_code == 1002
            return
        (was,) = answers
        now = await peer.receive()
        assert now[:2] == was[:2]
        assert now[2][0] == was[2][0]
        assert now[3:] == was[3:]
        assert now[2][2]["auth"].keys() == was[2][2]["auth"].keys()
        assert now[2][2]["platform"].keys() == was[2][2]["platform"].keys()
        assert now[2][2]["properties"] == {}
