"""The line that reports the progress of a transfer."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.cli.terminal import progress as module
from pagent.cli.terminal.progress import ProgressLine, line_of
from pagent.limits import MIB
from tests.kit.peer import PATIENCE_S


def test_a_line() -> None:
    line = line_of("data", 256 * MIB, 1024 * MIB, 2.0 * MIB, 100)
    assert line == "data [#####               ]  25% 256.0MiB/1.0GiB 2.0MiB/s 6:24"
    assert line_of("data", 5, 5, 0.0, 30) == "data 100% 5B/5B 0B/s -:--"
    assert line_of("a long name", 5, 5, 0.0, 30) == "a long n 100% 5B/5B 0B/s -:--"


@given(st.text(max_size=100), st.integers(0, 2**50), st.integers(0, 2**50), st.floats(0, 1e12), st.integers(1, 300))
def test_no_line_is_as_wide_as_its_terminal(label: str, done: int, total: int, rate: float, columns: int) -> None:
    assert len(line_of(label, done, total, rate, columns)) <= max(columns - 1, 1)


def test_without_a_terminal_nothing_is_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("x") as line:
        line.update(1, 2)
        line.say("a message\x1b[2J")
    assert not line.is_drawn
    assert capfd.readouterr().err == "pagent: a message\\x1b[2J\n"


async def test_without_a_terminal_messages_report_a_slow_transfer(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_FIRST_MESSAGE_S", 0.0)
    monkeypatch.setattr(module, "_MESSAGES_S", 0.001)
    with ProgressLine("uploading a\x1b[2J", has_messages=True) as line:
        line.update(MIB, 3 * MIB)
        printed = ""
        async with asyncio.timeout(PATIENCE_S):
            while printed.count("\n") < 2:
                await asyncio.sleep(0.005)
                printed += capfd.readouterr().err
    printed += capfd.readouterr().err
    assert re.fullmatch(r"(pagent: uploading a\\x1b\[2J: 1\.0MiB of 3\.0MiB\n){2,}", printed)
    await asyncio.sleep(0.005)
    assert capfd.readouterr().err == ""


async def test_a_fast_transfer_has_no_messages(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("uploading", has_messages=True) as line:
        line.update(1, 1)
    assert capfd.readouterr().err == ""
