from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import pytest

from pagent.errors import ConfigError
from pagent.runtime import rereading as module
from pagent.runtime.rereading import Rereading
from tests.kit.peer import PATIENCE_S


@dataclass
class Read:
    """Settings, and the thread that has read them."""

    thread: int
    log_level: str | None = None


def settings() -> Read:
    return Read(threading.get_ident())


def unused(*_: object) -> NoReturn:
    pytest.fail("taken over")


async def until(caplog: pytest.LogCaptureFixture, words: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while words not in caplog.text:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.01)


async def test_what_is_read_is_taken_over_in_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    taken: list[tuple[int, int]] = []

    def take_over(settings: Read, credentials: int) -> int:
        assert asyncio.get_running_loop() is not None
        taken.append((settings.thread, credentials))
        return 3

    reading: Rereading[Read, int] = Rereading(lambda _: threading.get_ident(), take_over)
    reading.start(settings)
    await until(caplog, "the configuration is read again; accepted tokens: 3")
    [(thread, loaded_in)] = taken
    assert thread == loaded_in != threading.get_ident()
    await reading.close()


async def test_the_log_level_is_taken_over_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    levels: list[int] = []

    def take_over(settings: Read, credentials: None) -> int:
        levels.append(logging.getLogger().level)
        return len(levels)

    reading: Rereading[Read, None] = Rereading(lambda _: None, take_over)
    reading.start(lambda: Read(0, "debug"))
    await until(caplog, "accepted tokens: 1")
    reading.start(lambda: Read(0))
    await until(caplog, "accepted tokens: 2")
    assert levels == [logging.DEBUG, logging.DEBUG]
    await reading.close()


def a_fault(*_: object) -> NoReturn:
    raise ConfigError("x: a fault")


@pytest.mark.parametrize(("read", "load"), [(a_fault, lambda _: None), (settings, a_fault)])
async def test_a_fault_of_the_settings_or_of_their_credentials_changes_nothing(
    read: Callable[[], Read], load: Callable[[Read], None], caplog: pytest.LogCaptureFixture
) -> None:
    level = logging.getLogger().level
    reading: Rereading[Read, None] = Rereading(load, unused)
    reading.start(read)
    await until(caplog, "the configuration is not read again, and nothing changes: x: a fault")
    assert logging.getLogger().level == level
    await reading.close()


async def test_a_disk_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "RELOAD_TIMEOUT_S", 0.05)
    hangs = threading.Event()

    def load(settings: Read) -> None:
        hangs.wait()

    reading: Rereading[Read, None] = Rereading(load, unused)
    reading.start(settings)
    await until(caplog, "the configuration is not read again")
    await reading.close()
    hangs.set()


async def test_after_the_end_nothing_is_read() -> None:
    reading: Rereading[Read, None] = Rereading(unused, unused)
    await reading.close()
    reading.start(unused)
