"""Every state of a port connection with every input: the table, and the connection that follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pagent.net.port.connection import PortConnection
from pagent.net.port.states import PORT_TRANSITIONS, PortInput, PortState
from tests.kit.ends import MemoryPort, QuietUser


class CountingUser(QuietUser):
    """A user that counts its losses."""

    def __init__(self) -> None:
        self.lost = 0

    def port_lost(self, error: Exception | None) -> None:
        self.lost += 1


class Rig:
    """A connection in a state."""

    def __init__(self, state: PortState) -> None:
        self.user = CountingUser()
        self.connection = PortConnection(self.user)
        for step in WAYS[state]:
            step(self)
        assert self.connection.state is state

    def connect(self) -> None:
        self.transport = HandoverPort(self.connection)

    def lose(self) -> None:
        self.connection.connection_lost(None)

    def lose_with_work(self) -> None:
        """Lose the connection while deferred work holds back the end."""
        self.connection.defer(lambda: None, 0)
        self.lose()


WAYS: dict[PortState, list[Callable[[Rig], None]]] = {
    PortState.CONNECTING: [],
    PortState.OPEN: [Rig.connect],
    PortState.ENDING: [Rig.connect, Rig.lose_with_work],
    PortState.FLUSHING: [Rig.connect, lambda rig: rig.connection.close()],
    PortState.CLOSED: [Rig.connect, lambda rig: rig.connection.abort()],
}


async def deliver(rig: Rig) -> None:
    """Let the deferred work end, after which the end is reported."""
    for _ in range(3):
        await asyncio.sleep(0)


async def apply(rig: Rig, event: PortInput) -> None:
    connection = rig.connection
    if event is PortInput.CONNECTED:
        connection.connection_made(IdleTransport())
    elif event is PortInput.LOST:
        connection.connection_lost(None)
    elif event is PortInput.CLOSE:
        connection.close()
    elif event is PortInput.ABORT:
        connection.abort()
    else:
        connection.hand_over(asyncio.Protocol(), b"")


class HandoverPort(MemoryPort):
    """A transport in memory that another protocol can get."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass


class IdleTransport(asyncio.Transport):
    """A transport that does nothing."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass


@pytest.mark.parametrize("event", [each for each in PortInput if each is not PortInput.DELIVERED])
@pytest.mark.parametrize("state", PortState)
async def test_every_input_in_every_state(state: PortState, event: PortInput) -> None:
    rig = Rig(state)
    expected = PORT_TRANSITIONS[state].get(event)
    if expected is None:
        with pytest.raises(KeyError):
            await apply(rig, event)
        expected = state
    else:
        await apply(rig, event)
    if expected is PortState.ENDING and state is PortState.OPEN:
        expected = PortState.CLOSED  # there was nothing left to deliver
    assert rig.connection.state is expected
    assert rig.connection.closed is (expected in (PortState.FLUSHING, PortState.CLOSED))


async def test_the_end_is_delivered_once() -> None:
    rig = Rig(PortState.ENDING)
    assert rig.user.lost == 0
    await deliver(rig)
    assert rig.connection.state is PortState.CLOSED
    assert rig.user.lost == 1
    rig.connection.close()
    rig.connection.abort()
    await deliver(rig)
    assert rig.user.lost == 1


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_user_that_closes_gets_no_end(end: str) -> None:
    for state in (PortState.OPEN, PortState.ENDING):
        rig = Rig(state)
        getattr(rig.connection, end)()
        if state is PortState.OPEN:
            rig.lose()
        await deliver(rig)
        assert rig.user.lost == 0
        assert rig.connection.state is PortState.CLOSED
