"""What commands with ``--agent`` use: an agent, and a router that an agent has dialled, as processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.remotes import KINDS, RemoteProcess, remote_process


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteProcess]:
    """Start them once for the tests of a module, each of which runs with both."""
    with remote_process(request.param, tmp_path_factory.mktemp("remote")) as running:
        yield running
