from __future__ import annotations

import asyncio
import threading

import pytest

from pagent.errors import ConfigError
from pagent.runtime import rereading as module
from pagent.runtime.rereading import Rereading
from tests.kit.peer import PATIENCE_S


async def until(caplog: pytest.LogCaptureFixture, words: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while words not in caplog.text:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.01)


async def test_what_is_read_is_taken_over_in_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    reading = Rereading()
    taken: list[int] = []

    def take_over(found: int) -> int:
        assert asyncio.get_running_loop() is not None
        taken.append(found)
        return 3

    reading.start(threading.get_ident, take_over)
    await until(caplog, "the configuration is read again; accepted tokens: 3")
    assert taken != [threading.get_ident()]
    await reading.close()


async def test_a_fault_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    reading = Rereading()

    def fail() -> int:
        raise ConfigError("x: a fault")

    reading.start(fail, lambda _: pytest.fail("taken over"))
    await until(caplog, "the configuration is not read again, and nothing changes: x: a fault")
    await reading.close()


async def test_a_disk_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "RELOAD_TIMEOUT_S", 0.05)
    reading, hangs = Rereading(), threading.Event()
    reading.start(hangs.wait, lambda _: pytest.fail("taken over"))
    await until(caplog, "the configuration is not read again")
    await reading.close()
    hangs.set()


async def test_after_the_end_nothing_is_read() -> None:
    reading = Rereading()
    await reading.close()
    reading.start(lambda: pytest.fail("read"), lambda _: 0)
