"""How long a peer has been silent: by the kernel, so that time in its queue counts."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from pagent.net.accept.silence import silent_s

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's tcp_info")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dialled = socket.create_connection(listening.getsockname())
        time.sleep(0.3)
        accepted, _ = listening.accept()
    with dialled, accepted:
        yield dialled, accepted


def test_time_in_the_queue_counts(pair: tuple[socket.socket, socket.socket]) -> None:
    silence = silent_s(pair[1])
    assert silence is not None
    assert 0.25 <= silence < 30


def test_data_ends_it(pair: tuple[socket.socket, socket.socket]) -> None:
    before = silent_s(pair[1])
    pair[0].sendall(b"x")
    assert pair[1].recv(1) == b"x"
    after = silent_s(pair[1])
    assert before is not None
    assert after is not None
    assert after < before


def test_another_kind_of_socket_has_none() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert silent_s(near) is None
