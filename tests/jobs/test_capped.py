"""Capped output files: the kept bytes, the bytes that readers get, on file systems of all three kinds."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.jobs.capped import CappedOutput, Drop, OutputCap, _collapse, _punch
from pagent.runtime.threads import ThreadPool
from tests.jobs.conftest import PATIENCE_S

CAP = 64 * 1024


def cannot(descriptor: int, length: int) -> bool:
    return False


@pytest.fixture(params=["collapse", "punch", "neither"])
def drops(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Drop, Drop]:
    """The ways of a file system, as far as that of the temporary folder has them."""
    with (tmp_path / "probe").open("wb") as file:
        file.write(bytes(3 * 4096))
        file.flush()
        if request.param == "collapse" and not _collapse(file.fileno(), 4096):
            pytest.skip("this file system cannot collapse a range")
        if request.param == "punch" and not _punch(file.fileno(), 4096):
            pytest.skip("this file system cannot punch holes")
    os.unlink(tmp_path / "probe")
    return {"collapse": (_collapse, cannot), "punch": (cannot, _punch), "neither": (cannot, cannot)}[request.param]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """As a job has it: open for appending."""
    descriptor = os.open(tmp_path / "output", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


def numbered(count: int, first: int = 0) -> bytes:
    return b"".join(b"%07d\n" % number for number in range(first, first + count))


def read_all(output: CappedOutput, file: int, offset: int = 0) -> tuple[int, bytes]:
    """All that can be read from ``offset`` on, and where that begins."""
    begin, data = output.read(file, offset, 1 << 20)
    whole = data
    while data:
        at, data = output.read(file, begin + len(whole), 1 << 20)
        assert at == begin + len(whole)
        whole += data
    return begin, whole


def test_below_the_cap_nothing_happens(file: int) -> None:
    output = CappedOutput(file, CAP)
    os.write(file, bytes(CAP))
    output.trim()
    assert os.fstat(file).st_size == CAP
    assert read_all(output, file) == (0, bytes(CAP))
    output.close()


def test_the_oldest_half_is_dropped_and_offsets_stay(file: int, drops: tuple[Drop, Drop]) -> None:
    output = CappedOutput(file, CAP, *drops)
    text = b""
    for round_ in range(5):
        more = numbered(9000, 9000 * round_)
        os.write(file, more)
        text += more
        output.trim()
        begin, kept = read_all(output, file)
        assert kept == text[begin:]
        assert len(kept) <= CAP
        assert os.fstat(file).st_blocks * 512 <= CAP + 8192
        if drops != (cannot, cannot):
            assert len(kept) >= CAP // 2
    assert output.size() == len(text)
    last = len(text) - 10
    assert read_all(output, file, last) == ((last, text[-10:]) if kept else (len(text), b""))
    assert output.read(file, len(text) + 5, 100) == (len(text) + 5, b"")
    output.close()


@given(st.lists(st.integers(1, 40_000), max_size=12), st.integers(1, 50_000))
def test_what_is_kept_is_always_the_end(sizes: list[int], cap: int) -> None:
    file = os.memfd_create("output")
    output = CappedOutput(file, cap)
    try:
        text = b""
        for size in sizes:
            more = numbered(size // 8 + 1, len(text) // 8)
            os.write(file, more)
            text += more
            output.trim()
            begin, kept = read_all(output, file)
            assert kept == text[begin:]
            assert len(kept) < max(cap, 2 * 4096) or len(kept) <= cap
    finally:
        output.close()
        os.close(file)


def test_a_fault_of_the_disk_drops_nothing(file: int) -> None:
    def broken(descriptor: int, length: int) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    output = CappedOutput(file, CAP, broken, broken)
    os.write(file, bytes(2 * CAP))
    with pytest.raises(OSError, match="Input/output error"):
        output.trim()
    assert read_all(output, file) == (0, bytes(2 * CAP))
    output.close()


def test_what_another_program_cuts_off_counts_as_dropped(file: int) -> None:
    output = CappedOutput(file, CAP)
    os.write(file, b"x" * 100)
    assert output.read(file, 0, 1000) == (0, b"x" * 100)
    os.ftruncate(file, 0)
    assert output.size() == 100
    os.write(file, b"y" * 50)
    assert output.read(file, 0, 1000) == (100, b"y" * 50)
    assert output.read(file, 100, 1000) == (100, b"y" * 50)
    assert output.size() == 150
    os.write(file, b"z" * 2 * CAP)
    output.trim()
    at, data = output.read(file, 0, 4 * CAP)
    assert at + len(data) == 150 + 2 * CAP
    assert output.size() == 150 + 2 * CAP
    output.close()
    output.close()
    assert output.size() == 150 + 2 * CAP


async def test_it_goes_on_while_the_file_grows(file: int, threads: ThreadPool) -> None:
    output = CappedOutput(file, CAP)
    capping = asyncio.create_task(OutputCap("job", [output], CAP, threads).run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(3):
                os.write(file, bytes(4 * CAP))
                size = output.size()
                while os.fstat(file).st_blocks * 512 > CAP + 8192:  # noqa: ASYNC110 - there is no event for that
                    await asyncio.sleep(0.01)
                assert output.size() == size
    finally:
        capping.cancel()
        await asyncio.gather(capping, return_exceptions=True)
        output.close()


async def test_a_fault_is_logged_and_tried_again(
    file: int, threads: ThreadPool, caplog: pytest.LogCaptureFixture
) -> None:
    tried = asyncio.Event()
    loop = asyncio.get_running_loop()
    faults = 0

    def broken(descriptor: int, length: int) -> bool:
        nonlocal faults
        faults += 1
        if faults > 1:
            loop.call_soon_threadsafe(tried.set)
        os.write(file, b"more")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    output = CappedOutput(file, CAP, broken, broken)
    os.write(file, bytes(2 * CAP))
    capping = asyncio.create_task(OutputCap("job", [output], CAP, threads).run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await tried.wait()
    finally:
        capping.cancel()
        await asyncio.gather(capping, return_exceptions=True)
        output.close()
    assert "cannot be cut to its cap" in caplog.text
