"""Standard input that is a pipe, a folder, or shared with a program that has made it non-blocking."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from pagent.cli.terminal.standard_input import input_chunks
from tests.kit.descriptors import replaced


@pytest.mark.parametrize("blocks", [True, False])
async def test_the_bytes_are_those_up_to_the_end(blocks: bool) -> None:
    source, sink = os.pipe()
    os.set_blocking(source, blocks)
    with replaced(0, source):
        chunks = input_chunks()
        first = asyncio.ensure_future(anext(chunks))
        for _ in range(100):  # the thread reads before there are bytes
            await asyncio.sleep(0)
        os.write(sink, b"a")
        assert await first == b"a"
        os.write(sink, b"b")
        os.close(sink)
        assert [chunk async for chunk in chunks] == [b"b"]


async def test_an_input_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    with replaced(0, os.open(tmp_path, os.O_RDONLY)), pytest.raises(IsADirectoryError):
        await anext(input_chunks())


async def test_without_standard_input_there_are_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert [chunk async for chunk in input_chunks()] == []
