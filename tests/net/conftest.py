"""What tests of connections share."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that a job would listen on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening
