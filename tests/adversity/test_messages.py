"""Messages that make no sense end their call or their link (docs/protocol.rst, "Messages that make no sense")."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import msgpack
import pytest
import websockets

from pagent.agent import Agent
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import PATIENCE_S, CallFailed, Peer

BROKEN: dict[str, tuple[int, bytes | str]] = {
    "text": (1003, "{}"),
    "nothing": (1007, b""),
    "a byte that is never used": (1007, b"\xc1"),
    "half a message": (1007, msgpack.packb([2, 5, 20, "job_create"])[:-3]),
    "two messages": (1007, msgpack.packb([3, 5]) + msgpack.packb([3, 6])),
    "a map": (1007, msgpack.packb({"a": 1})),
    "an unknown type": (1007, msgpack.packb([77, 5])),
    "a call id that is no number": (1007, msgpack.packb([3, "5"])),
    "a call id below zero": (1007, msgpack.packb([3, -5])),
    "an array that claims too much": (1007, b"\x93\x04\x05\xdd\xff\xff\xff\xff"),
    "a bin that claims too much": (1007, b"\x93\x04\x05\xc6\xff\xff\xff\xff"),
    "arrays in arrays": (1007, b"\x93\x04\x05" + b"\x91" * 100_000),
    "an extension type": (1007, msgpack.packb([4, 5, msgpack.ExtType(4, b"x")])),
    "text that is none": (1007, b"\x93\x04\x05\xa1\xff"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_undecodable_message_closes_its_link_only(agent: Agent, peer: Peer, name: str) -> None:
    code, data = BROKEN[name]
    async with peers.dial(agent.rpc_port, TOKEN) as bad:
        await bad.socket.send(data)
        async with asyncio.timeout(PATIENCE_S):
            await bad.socket.wait_closed()
        assert bad.socket.close_code == code
    assert await peer.call("job_count_current_connection") == 0


@pytest.mark.parametrize("kind", [1, 6])
@pytest.mark.parametrize("body", [[[1, None, {"auth": {}}]], [[1, "id", {}], 0, None], [], ["none"], [[1]]])
async def test_a_handshake_on_a_link_that_is_open_is_dropped(peer: Peer, kind: int, body: list[Any]) -> None:
    job = (await peer.call("job_create"))["uid"]
    upload = await peer.start(peers.OSTREAM, "file_upload", job, "file")
    for call_id in (upload, 1, 77):
        await peer.send([kind, call_id, *body])
    await peer.data(upload, b"as ever")
    await peer.end(upload)
    assert await peer.outcome(upload) == ([], 7)
    assert (await peer.call("job_info", job))["uid"] == job


NESTED: dict[str, bytes] = {
    "arrays": b"\xdd\x00\x00\xff\xff" + (b"\x9f" + b"\x90" * 15) * 0xFFFF,
    "maps": b"\xdd\x00\x00\xff\xff" + b"\x80" * 0xFFFF,
    "numbers": b"\x94" + (b"\xdc\xff\xff" + b"\x01" * 0xFFFF) * 4,
    "texts": b"\x92" + (b"\xdc\xff\xff" + b"\xa2ab" * 0xFFFF) * 2,
}


@pytest.mark.parametrize("name", NESTED)
async def test_too_many_elements_end_their_own_call(peer: Peer, name: str) -> None:
    job = (await peer.call("job_create"))["uid"]
    other = await peer.start(peers.OSTREAM, "file_upload", job, "other")
    call_id = await peer.start(peers.OSTREAM, "file_upload", job, "file")
    await peer.socket.send(b"\x93\x04" + msgpack.packb(call_id) + NESTED[name])
    with pytest.raises(CallFailed, match="too many elements") as caught:
        await peer.outcome(call_id)
    assert caught.value.status == 30
    starting = peer.next_id()
    peer.expect(starting)
    head = b"\x96\x02" + msgpack.packb(starting) + b"\x14" + msgpack.packb("job_info")
    await peer.socket.send(head + b"\x91" + NESTED[name] + b"\x80")
    with pytest.raises(CallFailed, match="too many elements") as caught:
        await peer.outcome(starting)
    assert caught.value.status == 30
    await peer.socket.send(b"\x95\x07\x05" + msgpack.packb(NESTED[name]) + b"\x00\xc0")  # of an unknown call
    await peer.data(other, b"as ever")
    await peer.end(other)
    assert await peer.outcome(other) == ([], 7)


SENSELESS: dict[str, list[Any]] = {
    "an id in use": [2, 0, 20, "job_create", [], {}],
    "an unknown call type": [2, 0, 99, "job_create", [], {}],
    "nil on a stream": [4, 0, None],
    "a message that is too long": [4, 0, b"", b""],
    "credit that was never agreed on": [10, 0, 5],
}


@pytest.mark.parametrize("name", SENSELESS)
async def test_a_senseless_message_ends_its_own_call(peer: Peer, name: str) -> None:
    job = (await peer.call("job_create"))["uid"]
    other = await peer.start(peers.OSTREAM, "file_upload", job, "other")
    call_id = await peer.start(peers.OSTREAM, "file_upload", job, "file")
    await peer.send([call_id if at == 1 else part for at, part in enumerate(SENSELESS[name])])
    with pytest.raises(CallFailed) as caught:
        await peer.outcome(call_id)
    assert caught.value.status == 30
    await peer.data(other, b"as ever")
    await peer.end(other)
    assert await peer.outcome(other) == ([], 7)


@pytest.mark.parametrize("value", [b"data", "text", 5])
async def test_stream_data_for_a_unary_call_ends_it(peer: Peer, value: Any) -> None:
    job = (await peer.call("job_create"))["uid"]
    await peer.call("job_start", job, ["sleep", "60"], {}, port_expected_count=0)
    call_id = await peer.start(peers.UNARY, "job_wait", job)
    await peer.data(call_id, value)
    with pytest.raises(CallFailed) as caught:
        await peer.outcome(call_id)
    assert caught.value.status == 30
    assert (await peer.call("job_info", job))["state"] == "RUNNING"


async def test_a_fragmented_message_is_one_message(peer: Peer) -> None:
    call_id = peer.next_id()
    data = msgpack.packb([2, call_id, 20, "job_count_current_connection", [], {}])
    peer.expect(call_id)
    await peer.socket.send(data[at : at + 1] for at in range(len(data)))
    assert await peer.outcome(call_id) == ([], 0)


async def test_a_message_above_the_limit_is_closed_with_1009(agent: Agent, peer: Peer) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as bad:
        with suppress(websockets.ConnectionClosed):
            await bad.socket.send(b"\x00" * (66 << 20))
        async with asyncio.timeout(PATIENCE_S):
            await bad.socket.wait_closed()
        assert bad.socket.close_code == 1009
    assert await peer.call("job_count_current_connection") == 0


async def test_a_name_as_long_as_a_message_is_returned_cut(peer: Peer) -> None:
    with pytest.raises(CallFailed) as caught:
        await peer.call("x" * 5_000_000)
    assert caught.value.status == 20
    assert len(str(caught.value)) < 10_000
    with pytest.raises(CallFailed) as caught:
        await peer.call("job_info", "x" * 5_000_000)
    assert len(str(caught.value)) < 20_000
