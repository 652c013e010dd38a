"""The reading side of a connection: it reads while neither its user nor deferred work pauses it."""

from __future__ import annotations

import asyncio

import pytest

from pagent.net.port.reading import PortReader
from pagent.net.read_budget import ITERATION_BYTES


class PausingTransport(asyncio.Transport):
    """A transport that knows whether it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


@pytest.fixture
async def opened() -> tuple[PortReader, PausingTransport]:
    reader, transport = PortReader(), PausingTransport()
    reader.open(transport)
    return reader, transport


async def test_the_user_pauses_and_resumes(opened: tuple[PortReader, PausingTransport]) -> None:
    reader, transport = opened
    reader.pause()
    reader.pause()
    assert not transport.reading
    reader.unpause()
    assert transport.reading


async def test_deferred_work_holds_back_the_next_read(opened: tuple[PortReader, PausingTransport]) -> None:
    reader, transport = opened
    done: list[bool] = []
    reader.defer(lambda: done.append(transport.reading), 0)
    assert not transport.reading
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == [False]
    assert transport.reading


async def test_deferred_work_that_raises_does_not_stop_the_reading(
    opened: tuple[PortReader, PausingTransport],
) -> None:
    reader, transport = opened
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))

    def fail() -> None:
        raise ValueError("a failure of the test")

    reader.defer(fail, 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.reading
    assert len(failed) == 1


async def test_the_read_budget_pauses_for_one_iteration(opened: tuple[PortReader, PausingTransport]) -> None:
    reader, transport = opened
    reader.spend(ITERATION_BYTES)
    assert not transport.reading
    reader.pause()
    await asyncio.sleep(0)
    assert not transport.reading
    reader.unpause()
    assert transport.reading


async def test_a_pause_before_the_connection_holds(opened: tuple[PortReader, PausingTransport]) -> None:
    reader, transport = PortReader(), PausingTransport()
    reader.pause()
    reader.open(transport)
    assert not transport.reading
    reader.close()
    reader.unpause()
    assert not transport.reading
