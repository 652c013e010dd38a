"""Unauthenticated peers: the memory that they cost an agent, and its answers (docs/contract.rst, "Access")."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from pagent.agent import Agent
from pagent.config.model import ServerSettings, Settings
from pagent.limits import ANSWERS_MAX, CLOSE_TIMEOUT_S, HANDSHAKE_MAX, HANDSHAKE_TIMEOUT_S
from pagent.net.link.link import Link
from pagent.rpc.connection import Connection
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.ends import HeldTimers
from tests.kit.peer import PATIENCE_S, CallFailed, Peer
from tests.kit.transfers import eventually
from tests.wire.test_frames import frame

HEAD = (
    b"GET /rpc/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: v1.prpc.datadvance\r\n\r\n"
)


@asynccontextmanager
async def unauthenticated(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a WebSocket on the RPC route, without a handshake."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(HEAD)
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            yield reader, writer
        finally:
            writer.close()


def message(*parts: Any) -> bytes:
    return frame(0x82, msgpack.packb(list(parts), use_bin_type=True), masked=True)


def hello(token: Any, **more: Any) -> bytes:
    return message(1, 1, [1, None, {"auth": {"uid": "u", "name": "n", "token": token}, **more}])


def close_code(answer: bytes) -> int:
    """Return the code of the close frame, which has to be the whole answer."""
    assert answer[:1] == b"\x88", answer
    assert len(answer) == 2 + answer[1]
    code: int = struct.unpack("!H", answer[2:4])[0]
    return code


REFUSED = {
    "a wrong token": hello("wrong"),
    "an empty token": hello(""),
    "no token": message(1, 1, [1, None, {"auth": {"uid": "u", "name": "n"}}]),
    "a token of another type": hello(5),
    "the beginning of the token": hello(TOKEN[:-1]),
    "a list of tokens": hello([TOKEN]),
    "another version": message(1, 1, [2, None, {"auth": {"uid": "u", "name": "n", "token": TOKEN}}]),
    "no user data": message(1, 1, [1, None, None]),
    "a call": message(2, 1, 20, "job_create", [], {}),
    "a reply": message(6, 1, [1, "x", {"auth": {"uid": "u", "name": "n", "token": TOKEN}}], 0, None),
    "a stream message": message(4, 1, b""),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_nothing_is_answered_before_the_handshake(
    agent: Agent, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with unauthenticated(agent.rpc_port) as (reader, writer):
        writer.write(REFUSED[name] + message(2, 2, 20, "job_create", [], {}))
        answer = await reader.read()
    assert close_code(answer) == 1002
    assert TOKEN.encode() not in answer
    assert TOKEN not in caplog.text
    assert not list(agent.jobs.jobs())


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (1009, frame(0x82, b"", length=b"\x7f" + struct.pack("!Q", HANDSHAKE_MAX + 1))[:1] + b"\xff"
               + struct.pack("!Q", HANDSHAKE_MAX + 1) + b"keys"),
        (1007, frame(0x82, b"\xc1", masked=True)),
        (1003, frame(0x81, b"{}", masked=True)),
        (1002, frame(0x82, b"not masked")),
    ],
)  # fmt: skip
async def test_an_invalid_handshake_is_closed_with_its_code(agent: Agent, code: int, data: bytes) -> None:
    async with unauthenticated(agent.rpc_port) as (reader, writer):
        writer.write(data)
        assert close_code(await reader.read()) == code


async def test_a_silent_connection_is_closed_in_time(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    greeting = HeldTimers(monkeypatch, Connection, HANDSHAKE_TIMEOUT_S)
    closing = HeldTimers(monkeypatch, Link, CLOSE_TIMEOUT_S)
    async with unauthenticated(agent.rpc_port) as (reader, _):
        assert greeting.fire() == 1
        assert closing.fire() == 1  # nor does it answer the close
        assert close_code(await reader.read()) == 1002


async def test_pings_before_the_handshake_are_not_answered_and_close_the_connection(agent: Agent) -> None:
    async with unauthenticated(agent.rpc_port) as (reader, writer):
        writer.write(frame(0x89, b"x" * 125, masked=True) * 500)
        assert close_code(await reader.read()) == 1008


async def test_unread_answers_to_pings_are_bounded(agent: Agent) -> None:
    async with unauthenticated(agent.rpc_port) as (reader, writer):
        writer.write(hello(TOKEN))
        assert await reader.readexactly(1) == b"\x82"
        pings = frame(0x89, b"x" * 125, masked=True) * 500
        await eventually(lambda: len(agent.links) == 1)
        link = agent.links.open[0].link
        sent = 0
        while "unread answers" not in link.paused_by:  # the kernel's own buffers fill first
            writer.write(pings)
            sent += len(pings)
            assert sent < 200_000_000
            await asyncio.sleep(0)
        assert link.unsent_bytes <= 2 * ANSWERS_MAX


async def test_an_empty_list_of_tokens_refuses_every_peer(settings: Settings) -> None:
    async with running_agent(replace(settings, server=ServerSettings(accept_tokens=()))) as agent:
        for token in ("", "default", TOKEN):
            async with unauthenticated(agent.rpc_port) as (reader, writer):
                writer.write(hello(token))
                assert close_code(await reader.read()) == 1002


async def test_jobs_are_seen_by_their_token_only(settings: Settings) -> None:
    both = replace(settings, server=ServerSettings(accept_tokens=(TOKEN, "another-token")))
    async with running_agent(both) as agent, peers.dial(agent.rpc_port, TOKEN) as mine:
        job = (await mine.call("job_create", linger=60))["uid"]
        async with peers.dial(agent.rpc_port, "another-token") as other:
            for method in ("job_info", "job_remove", "job_wait", "job_adopt", "job_kill"):
                with pytest.raises(CallFailed, match="JobNotFoundError"):
                    await other.call(method, job)
            assert await other.call("job_list") == []
        assert (await mine.call("job_info", job))["uid"] == job


@pytest.mark.parametrize("method", ["__class__", "_info", "jobs.shutdown", "stop", "", "os.system", "job_create\0"])
async def test_only_the_methods_of_the_table_can_be_called(peer: Peer, method: str) -> None:
    with pytest.raises(CallFailed) as caught:
        await peer.call(method)
    assert caught.value.status == 20


async def test_no_traceback_and_no_environment_reach_a_peer(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "A_SECRET", "of-the-environment")
    for method, arguments in (
        ("job_info", ()),
        ("job_info", (5,)),
        ("job_start", ("x", [], {})),
        ("job_create", ([],)),
    ):
        call_id = await peer.start(20, method, *arguments)
        result = await peer.next_of(call_id)
        text = repr(result)
        assert "of-the-environment" not in text
        assert "Traceback" not in text
        assert ".py" not in text
        assert result[4] is None or result[4][3] is None
