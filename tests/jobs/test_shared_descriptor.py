"""The descriptor of a folder that threads share: open until its last use has ended."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pagent.jobs.shared_descriptor import SharedDescriptor
from tests.jobs.conftest import PATIENCE_S


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.fixture
def descriptor(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY)


def test_it_is_closed_at_once_without_a_use(descriptor: int) -> None:
    closed: list[None] = []
    shared = SharedDescriptor(descriptor, lambda: closed.append(None))
    shared.close()
    assert shared.removed
    assert not is_open(descriptor)
    shared.close()
    assert closed == [None]


def test_it_is_closed_after_the_last_use(descriptor: int) -> None:
    closed: list[None] = []
    shared = SharedDescriptor(descriptor, lambda: closed.append(None))
    with shared.using("a") as first:
        with shared.using("b") as second:
            assert first == second == descriptor
            shared.close()
        assert is_open(descriptor)
        assert closed == []
    assert not is_open(descriptor)
    assert closed == [None]


def test_a_use_after_the_close_is_an_error_of_its_path(descriptor: int) -> None:
    shared = SharedDescriptor(descriptor, lambda: None)
    shared.close()
    with pytest.raises(FileNotFoundError) as caught, shared.using("a/b"):
        pass
    assert caught.value.filename == "a/b"


def test_an_error_in_a_use_ends_it(descriptor: int) -> None:
    shared = SharedDescriptor(descriptor, lambda: None)
    with pytest.raises(ValueError, match="wrong"), shared.using("a"):
        raise ValueError("wrong")
    shared.close()
    assert not is_open(descriptor)


def test_a_use_in_another_thread_keeps_it_open(descriptor: int) -> None:
    shared = SharedDescriptor(descriptor, lambda: None)
    entered, leave = threading.Event(), threading.Event()

    def use() -> None:
        with shared.using("a"):
            entered.set()
            leave.wait(PATIENCE_S)

    thread = threading.Thread(target=use)
    thread.start()
    assert entered.wait(PATIENCE_S)
    shared.close()
    assert is_open(descriptor)
    leave.set()
    thread.join(PATIENCE_S)
    assert not is_open(descriptor)
