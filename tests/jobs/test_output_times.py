"""When a job has written its output."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.jobs import output_times
from pagent.jobs.inotify import FileWatches
from pagent.jobs.output_times import OutputClock, OutputTimes
from tests.kit.peer import PATIENCE_S


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(output_times.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(output_times.time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_output_since_a_time(clock: Clock) -> None:
    size = 0
    times = OutputTimes(lambda: size)
    assert times.offset(0) == 0
    for size in (10, 10, 25):
        clock.now += 10
        assert times.look() is (size == 25 or clock.now == 1010)
    assert [times.offset(at) for at in (0, 1009, 1010, 1029, 1030, 2000)] == [0, 0, 10, 10, 25, 25]
    size = 40
    clock.now = 1050
    assert times.offset(1049) == 25
    size = 5  # it was emptied
    clock.now = 1060
    assert [times.offset(at) for at in (0, 1055, 1060)] == [0, 0, 5]


def test_the_marks_are_bounded_and_those_of_new_output_are_dense(clock: Clock) -> None:
    size = 0
    times = OutputTimes(lambda: size)
    for second in range(1, 86_401):
        clock.now, size = 1000.0 + second, second
        times.look()
    for age in (0, 1, 10, 60, 600, 3600, 43_200):
        extra = 86_400 - age - times.offset(clock.now - age)
        assert 0 <= extra <= max(1, 0.03 * age), age


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "output", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


async def test_writes_are_noted_when_they_come(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_times, "_TICK_S", 0.05)
    looks: list[float] = []
    changed = asyncio.Event()

    def size() -> int:
        looks.append(time.monotonic())
        changed.set()
        return os.fstat(file).st_size

    watching = OutputClock()
    times = watching.watch(size, lambda: os.dup(file))
    try:
        for number in range(1, 4):
            await asyncio.sleep(0.2)  # a pause, in which it is not looked at
            count = len(looks)
            await asyncio.sleep(0.2)
            assert len(looks) == count
            before = time.time()
            changed.clear()
            os.write(file, b"x" * 10)
            async with asyncio.timeout(PATIENCE_S):
                await changed.wait()
            assert times.offset(before) == 10 * (number - 1)
            assert times.offset(time.time()) == 10 * number
        watching.forget(times)
        watching.forget(times)
        assert times.offset(before) == 20
    finally:
        watching.close()


async def test_a_file_that_is_forgotten_soon_is_never_watched() -> None:
    def descriptor() -> int:
        raise AssertionError("it was watched")

    watching = OutputClock()
    times = watching.watch(lambda: 10, descriptor)
    watching.forget(times)
    assert times.offset(time.time() + 1) == 10
    watching.close()


async def test_without_inotify_a_file_is_looked_at(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_times, "_TICK_S", 0.01)
    monkeypatch.setattr(FileWatches, "open", lambda written: None)
    watching = OutputClock()
    times = watching.watch(lambda: os.fstat(file).st_size, lambda: os.dup(file))
    os.write(file, b"1")
    await asyncio.sleep(0.1)
    between = time.time()
    os.write(file, b"2")
    await asyncio.sleep(0.1)
    assert times.offset(between) == 1
    watching.close()
