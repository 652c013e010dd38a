from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from pagent.cli import loop
from pagent.errors import ConfigError


async def running() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)


def test_uvloop_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("uvloop")
    monkeypatch.delenv("PAGENT_LOOP", raising=False)
    with caplog.at_level(logging.INFO):
        assert loop.run(running) == "uvloop"
    assert "event loop: uvloop" in caplog.messages


def test_asyncio_where_uvloop_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_uvloop(monkeypatch)
    monkeypatch.delenv("PAGENT_LOOP", raising=False)
    with caplog.at_level(logging.INFO):
        assert loop.run(running) == "asyncio"
    assert "event loop: asyncio" in caplog.messages


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("PAGENT_LOOP", name)
    assert loop.run(running) == name


def test_an_unknown_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGENT_LOOP", "tokio")
    with pytest.raises(ConfigError, match="PAGENT_LOOP: must be asyncio or uvloop"):
        loop.run(running)


def test_uvloop_asked_for_by_name_and_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without_uvloop(monkeypatch)
    with pytest.raises(ConfigError, match="PAGENT_LOOP: uvloop is not installed"):
        loop.choose("uvloop")


def test_the_loop_is_closed_and_the_error_is_kept() -> None:
    seen: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        seen.append(asyncio.get_running_loop())
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        loop.run(main)
    assert seen[0].is_closed()
