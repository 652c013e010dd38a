"""The near end of a tunnel: before the answer of the far end, and the passing of ends in both directions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pagent.errors import CallCancelledError, CallError, LinkClosedError, MethodError
from pagent.splice.tcp import TcpSplice
from pagent.splice.tunnel import NearEnd
from tests.kit.ends import MemoryPort, MemoryStream


class FarCall:
    """A call of ``tcp_connect`` in memory; cancelling it loses its stream, as a real one's does."""

    def __init__(self) -> None:
        self.stream = MemoryStream()
        self.result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.cancelled: list[CallError] = []

    def cancel(self, error: CallError) -> None:
        if not self.result.done():
            self.cancelled.append(error)
            self.fail(error)

    def fail(self, error: Exception) -> None:
        self.result.set_exception(error)
        self.result.exception()
        receiver, self.stream.receiver = self.stream.receiver, None
        if receiver is not None:
            receiver.stream_lost(str(error))


class Tunnel:
    """A near end whose connection has just been accepted."""

    def __init__(self) -> None:
        self.call = FarCall()
        self.near = NearEnd(lambda: self.call)
        self.port = MemoryPort(self.near.port)

    @property
    def is_spliced(self) -> bool:
        return isinstance(self.near.port.user, TcpSplice)


async def test_bytes_go_both_ways_once_the_far_end_has_answered() -> None:
    tunnel = Tunnel()
    tunnel.call.stream.arrive(True)
    assert tunnel.is_spliced
    tunnel.near.port.data_received(b"request")
    tunnel.call.stream.arrive(b"answer")
    assert tunnel.call.stream.sent == [b"request"]
    assert tunnel.port.written == b"answer"


async def test_one_read_is_kept_until_the_answer_and_goes_first() -> None:
    tunnel = Tunnel()
    tunnel.near.port.data_received(b"early")
    before = (tunnel.port.reading, list(tunnel.call.stream.sent))
    tunnel.call.stream.arrive(True)
    tunnel.near.port.data_received(b"later")
    assert before == (False, [])
    assert tunnel.port.reading
    assert tunnel.call.stream.sent == [b"early", b"later"]


async def test_an_end_before_the_answer_follows_the_data_before_it() -> None:
    tunnel = Tunnel()
    tunnel.near.port.data_received(b"all")
    tunnel.near.port.eof_received()
    tunnel.call.stream.arrive(True)
    tunnel.call.stream.arrive(b"answer")
    assert tunnel.call.stream.sent == [b"all", b""]
    assert tunnel.port.written == b"answer"
    assert not tunnel.port.is_closing()
    tunnel.call.stream.arrive(b"")
    assert tunnel.port.eof
    assert tunnel.port.closing
    assert not tunnel.call.cancelled


async def test_reading_waits_for_a_stream_that_is_blocked() -> None:
    tunnel = Tunnel()
    tunnel.near.port.data_received(b"early")
    tunnel.call.stream.blocked = True
    tunnel.call.stream.arrive(True)
    states = [tunnel.port.reading]
    tunnel.call.stream.unblock()
    assert [*states, tunnel.port.reading] == [False, True]


@pytest.mark.parametrize("answer", [False, None, 1, b"", b"true", {"subprotocol": None}])
async def test_a_far_end_that_does_not_say_true_has_no_connection(answer: object) -> None:
    """The call is cancelled, too: later messages of the far end have no receiver."""
    tunnel = Tunnel()
    tunnel.near.port.data_received(b"early")
    tunnel.call.stream.arrive(answer)
    assert tunnel.port.aborted
    assert not tunnel.is_spliced
    assert [type(error) for error in tunnel.call.cancelled] == [CallCancelledError]
    assert tunnel.call.stream.sent == []


async def test_a_far_end_that_closes_its_stream_without_a_message() -> None:
    tunnel = Tunnel()
    tunnel.near.stream_closed()
    assert tunnel.port.aborted
    assert len(tunnel.call.cancelled) == 1


@pytest.mark.parametrize("answered", [False, True])
async def test_a_call_that_fails_resets_the_connection(answered: bool) -> None:
    """A tunnel that failed must not look like one that ended."""
    tunnel = Tunnel()
    if answered:
        tunnel.call.stream.arrive(True)
    tunnel.call.result.set_exception(MethodError("failed", "ConnectionResetError", "reset"))
    tunnel.call.result.exception()
    await asyncio.sleep(0)
    assert tunnel.port.aborted


@pytest.mark.parametrize("answered", [False, True])
async def test_a_lost_link_resets_the_connection(answered: bool) -> None:
    tunnel = Tunnel()
    if answered:
        tunnel.call.stream.arrive(True)
    tunnel.call.fail(LinkClosedError(1006, "lost"))
    assert tunnel.port.aborted
    assert not tunnel.call.cancelled


@pytest.mark.parametrize("answered", [False, True])
async def test_a_connection_that_is_lost_cancels_the_call(answered: bool) -> None:
    tunnel = Tunnel()
    if answered:
        tunnel.call.stream.arrive(True)
    tunnel.near.port.connection_lost(None)
    assert [type(error) for error in tunnel.call.cancelled] == [CallCancelledError]


async def test_a_clean_end_of_the_call_leaves_what_is_written() -> None:
    tunnel = Tunnel()
    tunnel.call.stream.arrive(True)
    tunnel.near.port.eof_received()
    tunnel.call.stream.arrive(b"answer")
    tunnel.call.stream.arrive(b"")
    tunnel.call.result.set_result(None)
    await asyncio.sleep(0)
    assert tunnel.port.closing
    assert not tunnel.port.aborted
    assert tunnel.port.written == b"answer"


async def test_without_a_link_a_connection_is_dropped() -> None:
    def no_link() -> FarCall:
        raise LinkClosedError(1006, "lost")

    port = MemoryPort(NearEnd(no_link).port)
    assert port.aborted
