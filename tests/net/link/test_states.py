"""Every state of a link with every input: the table, and the link that follows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pagent.buffers import Bytes
from pagent.errors import LinkClosedError, ProtocolError
from pagent.net.link.link import Link
from pagent.net.link.states import LINK_TRANSITIONS, LIVE_STATES, LinkInput, LinkState
from pagent.wire import frames
from tests.kit.joined import MemoryTransport


class Owner:
    """An owner that counts its losses."""

    def __init__(self) -> None:
        self.lost: list[LinkClosedError] = []

    def link_message(self, payload: Bytes) -> None:
        pass

    def link_blocked(self) -> None:
        pass

    def link_writable(self) -> None:
        pass

    def link_lost(self, error: LinkClosedError) -> None:
        self.lost.append(error)


class Rig:
    """A link in a state."""

    def __init__(self, state: LinkState) -> None:
        self.owner = Owner()
        self.link = Link(self.owner, dialled=False)
        self.transport = MemoryTransport(self.link)
        for each in WAYS[state]:
            self.apply(each)
        assert self.link.state is state

    def apply(self, event: LinkInput) -> None:
        INPUTS[event](self)

    def peer_closes(self) -> None:
        frame = frames.masked_frame(frames.CLOSE, frames.close_payload(1000, ""))
        self.link.data_received(frame)


INPUTS: dict[LinkInput, Callable[[Rig], object]] = {
    LinkInput.CONNECTED: lambda rig: rig.link.connection_made(rig.transport),
    LinkInput.ACCEPTED: lambda rig: rig.link.accept_peer(),
    LinkInput.CLOSE: lambda rig: rig.link.close(),
    LinkInput.PEER_CLOSED: Rig.peer_closes,
    LinkInput.FAULT: lambda rig: rig.link.fail(ProtocolError("a fault of the peer")),
    LinkInput.LOST: lambda rig: rig.link.abort("the test aborts"),
}
#: The inputs that lead to a state.
WAYS = {
    LinkState.NEW: [],
    LinkState.UNAUTHENTICATED: [LinkInput.CONNECTED],
    LinkState.OPEN: [LinkInput.CONNECTED, LinkInput.ACCEPTED],
    LinkState.CLOSING: [LinkInput.CONNECTED, LinkInput.ACCEPTED, LinkInput.CLOSE],
    LinkState.FAILED: [LinkInput.CONNECTED, LinkInput.ACCEPTED, LinkInput.FAULT],
    LinkState.CLOSED: [LinkInput.CONNECTED, LinkInput.ACCEPTED, LinkInput.LOST],
}


@pytest.mark.parametrize("event", LinkInput)
@pytest.mark.parametrize("state", LinkState)
async def test_every_input_in_every_state(state: LinkState, event: LinkInput) -> None:
    rig = Rig(state)
    expected = LINK_TRANSITIONS[state].get(event)
    if expected is None:
        with pytest.raises(KeyError):
            rig.apply(event)
        expected = state
    else:
        rig.apply(event)
    assert rig.link.state is expected
    assert rig.link.is_open is (expected in LIVE_STATES)
    rig.link.abort("the test is over")
    assert len(rig.owner.lost) == (0 if state is LinkState.NEW and event is not LinkInput.CONNECTED else 1)
    assert (await rig.link.closed) is not None


@pytest.mark.parametrize("state", LinkState)
def test_every_state_can_be_reached_and_only_the_last_is_final(state: LinkState) -> None:
    assert (set(LINK_TRANSITIONS[state].values()) == {state}) is (state is LinkState.CLOSED)


async def test_a_link_that_never_had_a_connection_is_closed_at_once() -> None:
    link = Link(Owner(), dialled=True)
    link.close(1001, "not needed any more")
    assert (await link.closed).code == 1001


@pytest.mark.parametrize("event", [LinkInput.CLOSE, LinkInput.PEER_CLOSED, LinkInput.FAULT, LinkInput.LOST])
@pytest.mark.parametrize("state", sorted(LIVE_STATES, key=lambda each: each.name))
async def test_the_owner_loses_a_link_once(state: LinkState, event: LinkInput) -> None:
    rig = Rig(state)
    for each in (event, LinkInput.CLOSE, LinkInput.FAULT, LinkInput.LOST, LinkInput.CLOSE):
        rig.apply(each)
    rig.link.connection_lost(None)
    assert len(rig.owner.lost) == 1
    assert await rig.link.closed is rig.owner.lost[0]
