"""Output of a process: to its end, or to a silence after the exit, and never while it is paused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from pagent.jobs import drain as module
from pagent.jobs.drain import Drain
from tests.jobs.conftest import PATIENCE_S


class Outputs:
    """Pipes whose other ends are read."""

    def __init__(self, count: int) -> None:
        self.writers: list[int] = []
        readers: list[int] = []
        for _ in range(count):
            read, write = os.pipe()
            os.set_blocking(read, False)
            readers.append(read)
            self.writers.append(write)
        self.readers = readers
        self.got: list[tuple[int, bytes]] = []
        self.complete = asyncio.Event()
        self.on_data: Callable[[], None] = lambda: None
        self.drain = Drain(readers, self._deliver, self._completed)

    def _deliver(self, index: int, data: bytes) -> None:
        assert not self.complete.is_set()
        self.got.append((index, data))
        self.on_data()

    def _completed(self) -> None:
        assert not self.complete.is_set()
        self.complete.set()

    async def completed(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.complete.wait()
        for descriptor in self.readers:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)

    def hang_up(self) -> None:
        for descriptor in self.writers:
            os.close(descriptor)
        self.writers.clear()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a reader's callback, which has no event
            await asyncio.sleep(0.001)


async def test_end_of_file_then_exit() -> None:
    outputs = Outputs(2)
    outputs.drain.resume()
    os.write(outputs.writers[0], b"out")
    os.write(outputs.writers[1], b"err")
    outputs.hang_up()
    await until(lambda: len(outputs.got) == 2)
    assert sorted(outputs.got) == [(0, b"out"), (1, b"err")]
    assert not outputs.complete.is_set()
    outputs.drain.process_exited()
    await outputs.completed()


async def test_exit_then_end_of_file() -> None:
    outputs = Outputs(1)
    outputs.drain.resume()
    outputs.drain.process_exited()
    os.write(outputs.writers[0], b"late")
    outputs.hang_up()
    await outputs.completed()
    assert outputs.got == [(0, b"late")]


async def test_a_silence_of_all_outputs_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXEC_QUIET_S", 0.4)
    outputs = Outputs(2)
    outputs.drain.resume()
    outputs.drain.process_exited()
    for _ in range(8):  # one of them is silent all the while
        await asyncio.sleep(0.1)
        os.write(outputs.writers[1], b"x")
    os.write(outputs.writers[0], b"last")
    await outputs.completed()
    assert (0, b"last") in outputs.got
    assert b"".join(data for index, data in outputs.got if index == 1) == b"x" * 8
    outputs.hang_up()


async def test_a_loop_that_was_held_up_looks_once_more() -> None:
    outputs = Outputs(1)
    outputs.drain.resume()
    outputs.drain.process_exited()
    os.write(outputs.writers[0], b"here")
    outputs.drain.look_for_quiet()  # as a timer that is called before the readers
    assert outputs.got == [(0, b"here")]
    assert not outputs.complete.is_set()
    outputs.hang_up()
    await outputs.completed()


async def test_no_end_while_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXEC_QUIET_S", 0.01)
    outputs = Outputs(1)
    outputs.on_data = outputs.drain.pause
    outputs.drain.resume()
    os.write(outputs.writers[0], b"one")
    await until(lambda: len(outputs.got) == 1)
    os.write(outputs.writers[0], b"two")
    outputs.drain.process_exited()
    await asyncio.sleep(0.1)
    assert outputs.got == [(0, b"one")]
    assert not outputs.complete.is_set()
    outputs.drain.resume()
    await until(lambda: len(outputs.got) == 2)
    await asyncio.sleep(0.1)
    assert not outputs.complete.is_set()
    outputs.drain.resume()
    await outputs.completed()
    outputs.hang_up()


async def test_paused_by_one_output_the_other_is_not_read() -> None:
    outputs = Outputs(2)
    outputs.on_data = outputs.drain.pause
    for descriptor in outputs.writers:
        os.write(descriptor, b"x")
    outputs.drain.resume()
    await until(lambda: len(outputs.got) == 1)
    await asyncio.sleep(0.02)
    assert len(outputs.got) == 1
    outputs.drain.resume()
    await until(lambda: len(outputs.got) == 2)
    outputs.drain.close()
    outputs.drain.close()
    outputs.hang_up()


async def test_closed_by_what_it_delivers() -> None:
    outputs = Outputs(2)
    outputs.on_data = outputs.drain.close
    for descriptor in outputs.writers:
        os.write(descriptor, b"x")
    outputs.drain.resume()
    await until(lambda: len(outputs.got) == 1)
    await asyncio.sleep(0.02)
    assert len(outputs.got) == 1
    assert not outputs.complete.is_set()
    outputs.hang_up()
