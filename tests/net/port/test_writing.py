"""The writing side of a connection: the order of its data, and the count of bytes that are not taken."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from pagent.buffers import Bytes
from pagent.net.port.writing import PortWriter
from pagent.runtime.memory import current_memory


class RecordingTransport(asyncio.Transport):
    """A transport that keeps the written bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()
        self.writes = 0

    def write(self, data: Bytes) -> None:
        self.out += data
        self.writes += 1

    def writelines(self, parts: list[Bytes]) -> None:
        self.write(b"".join(parts))

    def get_write_buffer_size(self) -> int:
        return len(self.out)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def opened() -> tuple[PortWriter, RecordingTransport]:
    writer, transport = PortWriter(), RecordingTransport()
    writer.open(transport)
    return writer, transport


SIZES = st.integers(0, 10) | st.integers(8000, 9000) | st.just(600_000)


@settings(max_examples=50)
@given(st.lists(st.tuples(SIZES, st.booleans(), st.booleans()), max_size=8))
def test_any_writes_arrive_in_order(steps: list[tuple[int, bool, bool]]) -> None:
    async def run() -> None:
        writer, transport = opened()
        expected = bytearray()
        for number, (size, several, wait) in enumerate(steps):
            data = bytes([number]) * size
            expected += data
            if several:
                writer.writelines([data[: size // 2], memoryview(data)[size // 2 :]])
            else:
                writer.write(data)
            if wait:
                await asyncio.sleep(0)
        writer.flush()
        assert transport.out == expected

    asyncio.run(run())


async def test_large_writes_of_an_iteration_are_one_system_call() -> None:
    writer, transport = opened()
    for _ in range(3):
        writer.write(bytes(10_000))
    assert transport.writes == 0
    await asyncio.sleep(0)
    assert (transport.writes, len(transport.out)) == (1, 30_000)


async def test_data_that_is_not_taken_is_counted_until_it_is() -> None:
    writer, _ = opened()
    before = current_memory().used
    writer.write(bytes(100))
    writer.pause()
    assert writer.blocked
    assert current_memory().used == before + 100
    writer.resume()
    assert not writer.blocked
    assert current_memory().used == before
    writer.pause()
    writer.close()
    assert current_memory().used == before
    writer.write(b"dropped")
    assert writer.unsent_bytes == 0
