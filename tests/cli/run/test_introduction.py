"""What ``pagent run`` prints of its job before the command is ready."""

from __future__ import annotations

import asyncio

import pytest

from pagent.cli.run import introduction as module
from pagent.cli.run.introduction import Introduction


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(module, "say", lines.append)
    monkeypatch.setattr(module, "_AFTER_S", 0.01)
    return lines


async def test_all_of_it_is_printed_after_a_moment(said: list[str]) -> None:
    introduction = Introduction("line", "hint")
    introduction.start()
    assert said == []
    await asyncio.sleep(0.1)
    introduction.print_line()
    assert said == ["line", "hint"]


async def test_a_command_that_ends_at_once_is_not_introduced(said: list[str]) -> None:
    introduction = Introduction("line", "hint")
    introduction.start()
    introduction.end()
    await asyncio.sleep(0.1)
    assert said == []


async def test_a_command_that_listens_at_once_needs_no_hint(said: list[str]) -> None:
    introduction = Introduction("line", "hint")
    introduction.start()
    introduction.end()
    introduction.print_line()
    introduction.print_line()
    await asyncio.sleep(0.1)
    assert said == ["line"]


async def test_a_hint_follows_a_line_that_was_printed(said: list[str]) -> None:
    introduction = Introduction("line", "hint")
    introduction.print_line()
    introduction.start()
    await asyncio.sleep(0.1)
    assert said == ["line", "hint"]


async def test_nothing_is_printed_of_a_program_on_the_terminal(said: list[str]) -> None:
    introduction = Introduction("")
    introduction.start()
    await asyncio.sleep(0.1)
    introduction.print_line()
    assert said == []
