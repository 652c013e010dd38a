"""Fixtures for all tests: an agent in the test's loop, and peers of it that do not use this package."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

import pagent
from pagent.agent import Agent
from pagent.cli.loop import choose
from pagent.config.model import JobSettings, ServerSettings, Settings
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.descriptors import open_files
from tests.kit.peer import PATIENCE_S, Peer

PACKAGE = Path(pagent.__file__).parent

# A slow test does not fail: machines are shared.
hypothesis_settings.register_profile("unhurried", deadline=None)
hypothesis_settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Refuse to run with outdated compiled modules: Python imports a compiled module before its source."""
    for compiled in PACKAGE.rglob("*.so"):
        source = compiled.with_name(compiled.name.partition(".")[0] + ".py")
        source = source if source.exists() else source.with_suffix(".c")
        if not source.exists() or source.stat().st_mtime > compiled.stat().st_mtime:
            raise pytest.UsageError(f"{source} is newer than what was compiled of it: make install")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of users: uvloop's where it is installed. PAGENT_LOOP=asyncio runs all tests on asyncio's own."""
    name, factory = choose(os.environ.get("PAGENT_LOOP", ""))
    return {name: factory}


@pytest.fixture(autouse=True)
def loop_errors() -> Iterator[list[str]]:
    """Fail the test for what the loop reports: the error of a callback, or of a task that is not awaited.

    A test that wants such reports clears the list.
    """
    heard = _Heard(logging.ERROR)
    logger = logging.getLogger("asyncio")
    logger.addHandler(heard)
    yield heard.texts
    logger.removeHandler(heard)
    assert not heard.texts, "\n".join(heard.texts)


class _Heard(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of the agent of :func:`agent`; a test module may override it."""
    root = tmp_path / "jobs"
    root.mkdir()
    return Settings(server=ServerSettings(accept_tokens=(TOKEN,)), jobs=JobSettings(root=root))


@pytest.fixture
def descriptors(tmp_path: Path) -> Callable[[], int]:
    """Count the descriptors of this process that lead to the test's own folder."""
    return lambda: len(open_files(tmp_path))


@pytest.fixture
async def agent(settings: Settings) -> AsyncIterator[Agent]:
    async with running_agent(settings) as running:
        yield running


@pytest.fixture
async def peer(agent: Agent) -> AsyncIterator[Peer]:
    """A router of the field, dialled in: no extensions."""
    async with peers.dial(agent.rpc_port, TOKEN) as dialled:
        yield dialled


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that a job would listen on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed one for localhost, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    made, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", made]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    return made, key
