from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pagent.jobs import input as input_module
from pagent.jobs.input import open_input
from pagent.limits import STDIN_MAX
from tests.kit.descriptors import left_open, targets


@contextmanager
def opened(data: bytes | None) -> Iterator[int]:
    descriptor = open_input(data)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("data", [b"", None, b"x", b"line\n" * 100, bytes(STDIN_MAX)])
def test_all_bytes_come_and_then_the_end(data: bytes | None) -> None:
    with opened(data) as descriptor:
        assert not os.get_inheritable(descriptor)
        assert read_all(descriptor) == (data or b"")


def test_a_file_where_no_pipe_takes_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_module, "_fill", lambda pipe, data: False)
    before = targets()
    with opened(b"data" * 1000) as descriptor:
        assert read_all(descriptor) == b"data" * 1000
    assert left_open(before) == {}


def test_a_small_pipe_is_made_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    pipe = os.pipe

    def small() -> tuple[int, int]:
        ends = pipe()
        fcntl.fcntl(ends[1], 1031, 4096)
        return ends

    monkeypatch.setattr(os, "pipe", small)
    with opened(bytes(STDIN_MAX)) as descriptor:
        assert read_all(descriptor) == bytes(STDIN_MAX)
