"""What a spool keeps comes back in order, from a real file; where the disk does not take it, the stream hears why."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pagent.limits import SPOOL_MEMORY, SPOOL_MEMORY_ALL, SPOOL_PENDING_MAX
from pagent.rpc.spool import DEFAULT_SPOOL, SPOOL_READ, Spool, SpoolOpener
from pagent.rpc.throttle import ReadThrottle
from tests.kit.peer import PATIENCE_S

SIZES = (0, 1, 4, 5, 6, 1000, SPOOL_READ - 5, SPOOL_READ, SPOOL_READ + 1, 3 * SPOOL_READ, 0, 7)


class Rig:
    """A spool, and what it says. It keeps nothing in memory unless ``memory`` says so."""

    def __init__(self, opener: SpoolOpener, memory: int = 0) -> None:
        self.values: list[Any] = []
        self.empty = False
        self.failures: list[str] = []
        self.pauses: list[bool] = []
        self.delivered = asyncio.Event()
        self.spool = Spool(opener, self._deliver, self._fail, ReadThrottle(self), memory=memory)

    def pause_reading(self, owner: str) -> None:
        self.pauses.append(True)

    def resume_reading(self, owner: str) -> None:
        self.pauses.append(False)

    def _deliver(self, values: list[Any], empty: bool) -> None:
        assert not self.empty
        assert not self.failures
        self.values += values
        self.empty = empty
        self.delivered.set()

    def _fail(self, reason: str) -> None:
        self.failures.append(reason)
        self.delivered.set()

    async def take(self) -> None:
        """One helping."""
        self.delivered.clear()
        self.spool.want()
        async with asyncio.timeout(PATIENCE_S):
            await self.delivered.wait()

    async def rest(self) -> None:
        """Until the thread has nothing to do."""
        async with asyncio.timeout(PATIENCE_S):
            while self.spool._tasks._tasks:
                await asyncio.wait(self.spool._tasks._tasks)


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    gc.collect()
    before = sorted(spools())
    yield
    assert sorted(spools()) == before


def spools() -> list[str]:
    names = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue  # the listing's own
        if "spool" in name or name == "/dev/full":
            names.append(name)
    return names


def file_in(folder: Path, flags: int = os.O_RDWR) -> Callable[[], int]:
    """An opener's function: a file of this folder with a name that goes at once."""

    def opened() -> int:
        path = folder / "spool"
        path.touch()
        descriptor = os.open(path, flags)
        path.unlink()
        return descriptor

    return opened


@pytest.mark.parametrize("memory", [0, 70, 2 * SPOOL_READ, 1 << 30])
async def test_records_of_all_sizes_come_back_in_order(memory: int) -> None:
    rig = Rig(DEFAULT_SPOOL, memory)
    sent: list[Any] = []
    for size in SIZES:
        for value in (os.urandom(size), "ü" * (size // 2)):
            sent.append(value)
            rig.spool.append(value)
        rig.spool.append(memoryview(bytearray(b"view")))
        rig.spool.append("\ud800")  # no text, yet some programs' JSON has it
        sent += [b"view", "\ud800"]
    while not rig.empty:
        await rig.take()
    assert rig.values == sent
    assert rig.failures == []
    await rig.rest()


async def test_nothing_is_delivered_before_it_is_wanted() -> None:
    rig = Rig(DEFAULT_SPOOL)
    rig.spool.append(b"one")
    await rig.rest()
    assert rig.values == []
    await rig.take()
    assert (rig.values, rig.empty) == ([b"one"], True)
    await rig.rest()


@pytest.mark.parametrize("memory", [0, 500_000, 1 << 30])
async def test_what_comes_while_it_is_read_stands_behind(memory: int) -> None:
    """Each helping is asked for while more comes, whatever the thread is at."""
    rig = Rig(DEFAULT_SPOOL, memory)
    pieces = [bytes([number]) * 200_000 for number in range(60)]
    left = list(pieces)
    while not rig.empty:
        for _ in range(min(3, len(left))):
            rig.spool.append(left.pop(0))
        await rig.take()
    while left:  # a stream gets these directly
        rig.values.append(left.pop(0))
    assert rig.values == pieces
    await rig.rest()


async def test_a_little_is_given_back_from_memory() -> None:
    """At once, and the disk is not touched."""

    def opened() -> int:
        raise AssertionError("a file for so little")

    rig = Rig(SpoolOpener(opened, 1 << 30), 3 * SPOOL_READ)
    pieces = [bytes([number]) * (SPOOL_READ // 2) for number in range(5)]
    for piece in pieces:
        rig.spool.append(piece)
    for taken in (2, 4, 5):
        assert not rig.empty
        rig.spool.want()
        assert rig.values == pieces[:taken]
    assert rig.empty
    assert not rig.spool._tasks._tasks


async def test_what_is_more_goes_to_disk_behind_which_memory_is_used_again() -> None:
    rig = Rig(DEFAULT_SPOOL, 2 * SPOOL_READ)
    pieces = [bytes([number]) * (SPOOL_READ - 100) for number in range(6)]
    for piece in pieces[:3]:
        rig.spool.append(piece)
    await rig.rest()
    on_disk = sum(os.fstat(file.fd).st_size for file in rig.spool._files)
    assert on_disk > 2 * SPOOL_READ
    for piece in pieces[3:5]:
        rig.spool.append(piece)
    assert not rig.spool._tasks._tasks
    assert sum(os.fstat(file.fd).st_size for file in rig.spool._files) == on_disk
    while not rig.empty:
        await rig.take()
    assert rig.values == pieces[:5]
    await rig.rest()


async def test_all_spools_together_keep_no_more_than_they_may() -> None:
    size = SPOOL_READ // 2
    rigs = [Rig(DEFAULT_SPOOL, SPOOL_MEMORY) for _ in range(2 * SPOOL_MEMORY_ALL // SPOOL_MEMORY)]
    for _ in range(SPOOL_MEMORY // size - 1):
        for rig in rigs:
            rig.spool.append(bytes(size))
    for rig in rigs:
        await rig.rest()
    assert SPOOL_MEMORY_ALL / 2 < Spool._in_memory <= SPOOL_MEMORY_ALL + SPOOL_READ
    for rig in rigs:
        while not rig.empty:
            await rig.take()
        assert rig.values == [bytes(size)] * (SPOOL_MEMORY // size - 1)
        await rig.rest()
    assert Spool._in_memory == 0


async def test_what_is_dropped_counts_no_more() -> None:
    rig = Rig(DEFAULT_SPOOL, SPOOL_READ)
    rig.spool.append(bytes(1000))
    assert Spool._in_memory > 1000
    rig.spool.close()
    assert Spool._in_memory == 0


async def test_what_has_been_read_is_off_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a spool that is never empty."""
    monkeypatch.setattr("pagent.rpc.spool.SPOOL_FILE", 3 * SPOOL_READ)
    rig = Rig(DEFAULT_SPOOL)
    pieces = [bytes([number]) * (SPOOL_READ - 5) for number in range(30)]  # each read gives one
    most = 0
    for number, piece in enumerate(pieces):
        rig.spool.append(piece)
        await rig.rest()
        most = max(most, sum(os.fstat(file.fd).st_size for file in rig.spool._files))
        if number >= 3:
            await rig.take()
            assert not rig.empty
    assert 4 * SPOOL_READ <= most <= 10 * SPOOL_READ
    while not rig.empty:
        await rig.take()
    assert rig.values == pieces
    await rig.rest()
    assert not rig.spool._files


async def test_the_limit() -> None:
    """It is of what is kept: what has been taken counts no more."""
    rig = Rig(SpoolOpener(DEFAULT_SPOOL.open, 100_000))
    rig.spool.append(bytes(90_000))
    await rig.rest()
    rig.spool.append(bytes(1000))
    await rig.take()
    assert not rig.failures
    rig = Rig(SpoolOpener(DEFAULT_SPOOL.open, 100_000))
    rig.spool.append(bytes(90_000))
    await asyncio.sleep(0)  # now it is under way to the disk, and counts
    rig.spool.append(bytes(20_000))
    assert rig.failures == ["the job does not take its data, and 100000 bytes are spooled already"]
    rig.spool.append(b"more")
    rig.spool.want()
    await rig.rest()
    assert len(rig.failures) == 1
    assert rig.values == []


async def test_empty_records_count_as_well() -> None:
    rig = Rig(SpoolOpener(DEFAULT_SPOOL.open, 1000))
    for _ in range(300):
        rig.spool.append(b"")
    assert len(rig.failures) == 1
    await rig.rest()


@pytest.mark.parametrize("memory", [0, 1 << 30], ids=["on disk", "in memory"])
async def test_values_of_all_types_keep_their_place(memory: int) -> None:
    rig = Rig(DEFAULT_SPOOL, memory)
    sent: list[Any] = [b"one", {"resize": [80, 24]}, "two", 1, [b"", {"a": [True, 0.5]}], {}, b"three", -(1 << 40)]
    for value in sent:
        rig.spool.append(value)
    while not rig.empty:
        await rig.take()
    assert rig.values == sent
    await rig.rest()


async def test_a_full_disk() -> None:
    rig = Rig(SpoolOpener(lambda: os.open("/dev/full", os.O_RDWR), 1 << 30))
    rig.spool.append(b"x" * 100_000)
    await rig.rest()
    assert rig.failures == ["spooling the stream's data failed: No space left on device"]


async def test_a_descriptor_that_cannot_be_written(tmp_path: Path) -> None:
    rig = Rig(SpoolOpener(file_in(tmp_path, os.O_RDONLY), 1 << 30))
    rig.spool.append(b"x")
    rig.spool.want()
    await rig.rest()
    assert rig.failures == ["spooling the stream's data failed: Bad file descriptor"]
    assert rig.values == []


async def test_no_file_to_be_had(tmp_path: Path) -> None:
    rig = Rig(SpoolOpener(file_in(tmp_path / "gone"), 1 << 30))
    rig.spool.append(b"x")
    await rig.rest()
    assert rig.failures == ["spooling the stream's data failed: No such file or directory"]


async def test_a_file_that_somebody_cuts(tmp_path: Path) -> None:
    """A job may find the file of its own sandbox."""
    rig = Rig(SpoolOpener(file_in(tmp_path), 1 << 30))
    rig.spool.append(b"x" * 100)
    await rig.rest()
    os.ftruncate(rig.spool._files[0].fd, 0)
    await rig.take()
    assert rig.failures == ["spooling the stream's data failed: the file has become shorter"]
    await rig.rest()


@pytest.mark.parametrize("late", [False, True], ids=["opening", "opened"])
async def test_a_close_while_the_thread_works(tmp_path: Path, late: bool) -> None:
    """The file is closed once the thread is done with it, and nothing is said any more."""
    opening, go_on = threading.Event(), threading.Event()
    plain = file_in(tmp_path)

    def opened() -> int:
        if late:
            descriptor = plain()
        opening.set()
        assert go_on.wait(PATIENCE_S)
        return descriptor if late else plain()

    rig = Rig(SpoolOpener(opened, 1 << 30))
    try:
        rig.spool.append(b"x" * 1000)
        rig.spool.want()
        await asyncio.to_thread(opening.wait, PATIENCE_S)
        rig.spool.close()
        rig.spool.append(b"nobody wants it")
        assert len(spools()) == late
    finally:
        go_on.set()
        await rig.rest()
    assert rig.values == rig.failures == []


async def test_a_slow_disk_pauses_the_link_until_it_has_caught_up(tmp_path: Path) -> None:
    go_on = threading.Event()
    plain = file_in(tmp_path)

    def opened() -> int:
        assert go_on.wait(PATIENCE_S)
        return plain()

    rig = Rig(SpoolOpener(opened, 1 << 30))
    try:
        rig.spool.append(b"first")
        await asyncio.sleep(0)
        for _ in range(SPOOL_PENDING_MAX // SPOOL_READ):
            assert rig.pauses == []
            rig.spool.append(bytes(SPOOL_READ))
        assert rig.pauses == [True]
    finally:
        go_on.set()
        await rig.rest()
    assert rig.pauses == [True, False]
    while not rig.empty:
        await rig.take()
    assert [len(value) for value in rig.values] == [5] + [SPOOL_READ] * (SPOOL_PENDING_MAX // SPOOL_READ)
    await rig.rest()


async def test_a_disk_that_hangs_fails_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.rpc.spool.SPOOL_WRITE_TIMEOUT_S", 0.01)
    go_on = threading.Event()
    plain = file_in(tmp_path)

    def opened() -> int:
        descriptor = plain()
        assert go_on.wait(PATIENCE_S)
        return descriptor

    rig = Rig(SpoolOpener(opened, 1 << 30))
    try:
        rig.spool.append(b"x")
        async with asyncio.timeout(PATIENCE_S):
            await rig.delivered.wait()
        assert rig.failures == ["the disk is too slow for the data that came for the job"]
        assert rig.spool._tasks._tasks  # the file is not closed under the thread
    finally:
        go_on.set()
        await rig.rest()


def test_the_temporary_file_has_no_name() -> None:
    descriptor = DEFAULT_SPOOL.open()
    try:
        assert os.fstat(descriptor).st_nlink == 0
    finally:
        os.close(descriptor)
