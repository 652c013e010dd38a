"""A spool on real files: order, memory, limits, and disks that are full, slow or stuck."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pagent.limits import SPOOL_MEMORY, SPOOL_MEMORY_ALL, SPOOL_PENDING_MAX
from pagent.rpc.spool import SPOOL_READ, Spool, SpoolOpener, temporary_spool
from pagent.rpc.throttle import ReadThrottle
from pagent.runtime.metrics import STATISTICS
from pagent.runtime.threads import ThreadPool
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually

SIZES = (0, 1, 4, 5, 6, 1000, SPOOL_READ - 5, SPOOL_READ, SPOOL_READ + 1, 3 * SPOOL_READ, 0, 7)


class Rig:
    """A spool, and its deliveries. It keeps nothing in memory unless ``memory`` says so."""

    def __init__(self, opener: SpoolOpener | None = None, memory: int = 0) -> None:
        opener = temporary_spool() if opener is None else opener
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
        """Wait for one delivery."""
        self.delivered.clear()
        self.spool.want()
        async with asyncio.timeout(PATIENCE_S):
            await self.delivered.wait()

    async def rest(self) -> None:
        """Wait until no disk work is under way."""
        await eventually(lambda: self.spool.is_idle)

    async def closed(self) -> None:
        """Wait until the spool has no file."""
        await eventually(lambda: self.spool.is_idle and not self.spool.is_open)


@pytest.fixture(autouse=True)
async def nothing_stays_open() -> AsyncIterator[None]:
    gc.collect()
    before = sorted(spools())
    yield
    await eventually(lambda: sorted(spools()) == before)


@pytest.fixture
async def threads() -> AsyncIterator[ThreadPool]:
    pool = ThreadPool("disk of the test", 1)
    yield pool
    await pool.close(PATIENCE_S)


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
    rig = Rig(memory=memory)
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
    rig = Rig()
    rig.spool.append(b"one")
    await rig.rest()
    assert rig.values == []
    await rig.take()
    assert (rig.values, rig.empty) == ([b"one"], True)
    await rig.rest()


@pytest.mark.parametrize("memory", [0, 500_000, 1 << 30])
async def test_values_that_arrive_during_a_read_come_after_it(memory: int) -> None:
    """Each delivery is asked for while more arrives, whatever the thread does."""
    rig = Rig(memory=memory)
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


async def test_a_small_spool_stays_in_memory(threads: ThreadPool) -> None:
    """It delivers at once, and opens no file."""

    def opened() -> int:
        raise AssertionError("a file for so little")

    rig = Rig(SpoolOpener(opened, 1 << 30, threads), 3 * SPOOL_READ)
    pieces = [bytes([number]) * (SPOOL_READ // 2) for number in range(5)]
    for piece in pieces:
        rig.spool.append(piece)
    for taken in (2, 4, 5):
        assert not rig.empty
        rig.spool.want()
        assert rig.values == pieces[:taken]
    assert rig.empty
    assert rig.spool.is_idle


async def test_values_after_those_on_disk_stay_in_memory() -> None:
    rig = Rig(memory=2 * SPOOL_READ)
    pieces = [bytes([number]) * (SPOOL_READ - 100) for number in range(6)]
    for piece in pieces[:3]:
        rig.spool.append(piece)
    await rig.rest()
    on_disk = rig.spool.disk_bytes
    assert on_disk > 2 * SPOOL_READ
    for piece in pieces[3:5]:
        rig.spool.append(piece)
    assert rig.spool.is_idle
    assert rig.spool.disk_bytes == on_disk
    while not rig.empty:
        await rig.take()
    assert rig.values == pieces[:5]
    await rig.rest()


async def test_the_memory_of_all_spools_is_bounded() -> None:
    size = SPOOL_READ // 2
    rigs = [Rig(memory=SPOOL_MEMORY) for _ in range(2 * SPOOL_MEMORY_ALL // SPOOL_MEMORY)]
    for _ in range(SPOOL_MEMORY // size - 1):
        for rig in rigs:
            rig.spool.append(bytes(size))
    for rig in rigs:
        await rig.rest()
    assert SPOOL_MEMORY_ALL / 2 < Spool.in_memory_total <= SPOOL_MEMORY_ALL + SPOOL_READ
    for rig in rigs:
        while not rig.empty:
            await rig.take()
        assert rig.values == [bytes(size)] * (SPOOL_MEMORY // size - 1)
        await rig.rest()
    assert Spool.in_memory_total == 0


async def test_a_closed_spool_counts_no_memory() -> None:
    rig = Rig(memory=SPOOL_READ)
    rig.spool.append(bytes(1000))
    assert Spool.in_memory_total > 1000
    rig.spool.close()
    assert Spool.in_memory_total == 0


async def test_a_spool_that_is_closed_twice_is_counted_once() -> None:
    before = STATISTICS.spooled
    rig = Rig()
    rig.spool.append(bytes(1000))
    await rig.rest()
    assert STATISTICS.spooled > before
    rig.spool.close()
    rig.spool.close()
    assert STATISTICS.spooled == before
    await rig.closed()


async def test_a_spool_that_has_been_read_has_no_file() -> None:
    rig = Rig()
    rig.spool.append(b"one")
    await rig.rest()
    assert rig.spool.is_open
    await rig.take()
    assert rig.empty
    await rig.closed()


async def test_the_limit() -> None:
    """Values that were delivered no longer count."""
    rig = Rig(temporary_spool()._replace(limit=100_000))
    rig.spool.append(bytes(90_000))
    await rig.rest()
    rig.spool.append(bytes(1000))
    await rig.take()
    assert not rig.failures
    rig = Rig(temporary_spool()._replace(limit=100_000))
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
    rig = Rig(temporary_spool()._replace(limit=1000))
    for _ in range(300):
        rig.spool.append(b"")
    assert len(rig.failures) == 1
    await rig.rest()


@pytest.mark.parametrize("memory", [0, 1 << 30], ids=["on disk", "in memory"])
async def test_values_of_all_types_keep_their_place(memory: int) -> None:
    rig = Rig(memory=memory)
    sent: list[Any] = [b"one", {"resize": [80, 24]}, "two", 1, [b"", {"a": [True, 0.5]}], {}, b"three", -(1 << 40)]
    for value in sent:
        rig.spool.append(value)
    while not rig.empty:
        await rig.take()
    assert rig.values == sent
    await rig.rest()


async def test_a_full_disk(threads: ThreadPool) -> None:
    rig = Rig(SpoolOpener(lambda: os.open("/dev/full", os.O_RDWR), 1 << 30, threads))
    rig.spool.append(b"x" * 100_000)
    await rig.rest()
    assert rig.failures == ["spooling the stream's data failed: No space left on device"]


async def test_a_descriptor_that_cannot_be_written(tmp_path: Path, threads: ThreadPool) -> None:
    rig = Rig(SpoolOpener(file_in(tmp_path, os.O_RDONLY), 1 << 30, threads))
    rig.spool.append(b"x")
    rig.spool.want()
    await rig.rest()
    assert rig.failures == ["spooling the stream's data failed: Bad file descriptor"]
    assert rig.values == []


async def test_a_file_that_cannot_be_opened(tmp_path: Path, threads: ThreadPool) -> None:
    rig = Rig(SpoolOpener(file_in(tmp_path / "gone"), 1 << 30, threads))
    rig.spool.append(b"x")
    await rig.rest()
    assert rig.failures == ["spooling the stream's data failed: No such file or directory"]


async def test_a_truncated_file_fails_the_stream(tmp_path: Path, threads: ThreadPool) -> None:
    """A job could open the file through /proc."""
    opened: list[int] = []

    def open_file() -> int:
        opened.append(file_in(tmp_path)())
        return opened[0]

    rig = Rig(SpoolOpener(open_file, 1 << 30, threads))
    rig.spool.append(b"x" * 100)
    await rig.rest()
    os.ftruncate(opened[0], 0)
    await rig.take()
    assert rig.failures == ["spooling the stream's data failed: the file has become shorter"]
    await rig.rest()


@pytest.mark.parametrize("late", [False, True], ids=["opening", "opened"])
async def test_a_close_while_the_thread_works(tmp_path: Path, late: bool, threads: ThreadPool) -> None:
    """The file is closed when the thread is done with it, and nothing is delivered."""
    opening, resume = threading.Event(), threading.Event()
    plain = file_in(tmp_path)

    def opened() -> int:
        if late:
            descriptor = plain()
        opening.set()
        assert resume.wait(PATIENCE_S)
        return descriptor if late else plain()

    rig = Rig(SpoolOpener(opened, 1 << 30, threads))
    try:
        rig.spool.append(b"x" * 1000)
        rig.spool.want()
        await asyncio.to_thread(opening.wait, PATIENCE_S)
        rig.spool.close()
        rig.spool.append(b"dropped")
        assert len(spools()) == late
    finally:
        resume.set()
        await rig.rest()
    assert rig.values == rig.failures == []


async def test_a_slow_disk_pauses_the_link_until_it_has_caught_up(tmp_path: Path, threads: ThreadPool) -> None:
    resume = threading.Event()
    plain = file_in(tmp_path)

    def opened() -> int:
        assert resume.wait(PATIENCE_S)
        return plain()

    rig = Rig(SpoolOpener(opened, 1 << 30, threads))
    try:
        rig.spool.append(b"first")
        await asyncio.sleep(0)
        for _ in range(SPOOL_PENDING_MAX // SPOOL_READ):
            assert rig.pauses == []
            rig.spool.append(bytes(SPOOL_READ))
        assert rig.pauses == [True]
    finally:
        resume.set()
        await rig.rest()
    assert rig.pauses == [True, False]
    while not rig.empty:
        await rig.take()
    assert [len(value) for value in rig.values] == [5] + [SPOOL_READ] * (SPOOL_PENDING_MAX // SPOOL_READ)
    await rig.rest()


async def test_a_disk_that_hangs_fails_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: ThreadPool
) -> None:
    monkeypatch.setattr("pagent.rpc.spool.SPOOL_WRITE_TIMEOUT_S", 0.01)
    resume = threading.Event()
    plain = file_in(tmp_path)

    def opened() -> int:
        descriptor = plain()
        assert resume.wait(PATIENCE_S)
        return descriptor

    rig = Rig(SpoolOpener(opened, 1 << 30, threads))
    try:
        rig.spool.append(b"x")
        async with asyncio.timeout(PATIENCE_S):
            await rig.delivered.wait()
        assert rig.failures == ["the disk is too slow for the data that came for the job"]
        assert len(spools()) == 1  # the file is not closed while the thread uses it
    finally:
        resume.set()
        await rig.rest()


async def test_the_temporary_file_has_no_name() -> None:
    descriptor = temporary_spool().open()
    try:
        assert os.fstat(descriptor).st_nlink == 0
    finally:
        os.close(descriptor)
