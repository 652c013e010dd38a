"""The reading side of a connection: it reads while neither its user nor deferred work pauses it."""

from __future__ import annotations

import asyncio

import pytest

from pagent.net.port.reading import PortReader
from pagent.net.port.writing import PortWriter
from pagent.net.read_budget import ITERATION_BYTES, READ_BULK, READ_PAUSABLE
from tests.kit.ends import QuietUser
from tests.net.port.test_writing import RecordingTransport


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
    reader.bulk(QuietUser(), bytes(ITERATION_BYTES))
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


class WritingUser(QuietUser):
    """A user that writes each piece twice to another connection."""

    def __init__(self, writer: PortWriter) -> None:
        self._writer = writer

    def port_data(self, data: bytes) -> None:
        self._writer.write(data)
        self._writer.write(data)


@pytest.mark.parametrize(
    ("size", "at_once"),
    [(READ_BULK, True), (READ_PAUSABLE - 1, True), (READ_PAUSABLE, False), (2 * READ_PAUSABLE, False)],
)
async def test_what_a_read_sends_is_written_once_at_its_end_if_the_socket_is_empty_then(
    size: int, at_once: bool, opened: tuple[PortReader, PausingTransport]
) -> None:
    reader, _ = opened
    writer, transport = PortWriter(), RecordingTransport()
    writer.open(transport)
    reader.bulk(WritingUser(writer), bytes(size))
    assert transport.writes == at_once
    await asyncio.sleep(0)
    assert transport.writes == 1
    assert len(transport.out) == 2 * size


async def test_a_read_that_fails_ends(opened: tuple[PortReader, PausingTransport]) -> None:
    reader, _ = opened

    class Fails(QuietUser):
        def port_data(self, data: bytes) -> None:
            raise ValueError("a user that fails")

    with pytest.raises(ValueError, match="a user that fails"):
        reader.bulk(Fails(), bytes(READ_BULK))
    writer, transport = PortWriter(), RecordingTransport()
    writer.open(transport)
    writer.write(bytes(READ_BULK))
    assert transport.writes == 0
    await asyncio.sleep(0)
    assert transport.writes == 1
