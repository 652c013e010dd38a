"""A call of a client joined to that of an agent: what is left when one of the two ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pagent.errors import CallCancelledError
from pagent.relay.joined import JoinedCall
from pagent.rpc.calls import IncomingCall
from pagent.rpc.methods import bistream, methods_of
from pagent.runtime.memory import current_memory
from pagent.wire import messages
from tests.kit.joined import Joined


class Service:
    """A method whose calls the test ends."""

    def __init__(self) -> None:
        self.calls: list[IncomingCall] = []

    @bistream
    def held(self, call: IncomingCall) -> None:
        self.calls.append(call)


@pytest.fixture
async def link() -> AsyncIterator[tuple[Joined, Service]]:
    """A link that carries both calls: the client's, and the one that is made for it."""
    service = Service()
    joined = Joined(methods_of(service))
    await joined.settle()
    yield joined, service
    await joined.close()


async def test_a_client_that_goes_without_reading_leaves_no_counted_memory(link: tuple[Joined, Service]) -> None:
    joined, service = link
    before = current_memory().used
    clients = joined.dialled.start_call(messages.BISTREAM, "held", [], {})
    await joined.settle()
    made = joined.accepted.start_call(messages.BISTREAM, "held", [], {})
    await joined.settle()
    incoming, agents = service.calls
    JoinedCall(incoming, made)
    for _ in range(2):  # the client's credit is used up by the first, so that the second waits in the joint
        for _ in range(8):
            assert agents.stream is not None
            agents.stream.send(bytes(32 * 1024))
        await joined.settle()
    agents.finish()
    await joined.settle()
    assert made.is_done
    clients.cancel(CallCancelledError("the client is gone"))
    await joined.settle()
    assert current_memory().used == before
