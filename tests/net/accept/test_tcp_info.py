"""The kernel's figures of a connection, also of one in its queue."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from pagent.net.accept.tcp_info import received

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's tcp_info")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dialled = socket.create_connection(listening.getsockname())
        time.sleep(0.3)
        accepted, _ = listening.accept()
    with dialled, accepted:
        yield dialled, accepted


def test_time_in_the_queue_is_silence(pair: tuple[socket.socket, socket.socket]) -> None:
    info = received(pair[1])
    assert info is not None
    assert 0.25 <= info.silent_s < 30
    assert info.bytes == 0


def test_data_ends_the_silence_and_is_counted(pair: tuple[socket.socket, socket.socket]) -> None:
    before = received(pair[1])
    pair[0].sendall(b"data")
    assert pair[1].recv(1, socket.MSG_PEEK) == b"d"
    after = received(pair[1])
    assert before is not None
    assert after is not None
    assert after.silent_s < before.silent_s
    assert after.bytes == 4
    pair[1].recv(100)
    assert (received(pair[1]) or before).bytes == 4


def test_another_kind_of_socket_is_not_known() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert received(near) is None
