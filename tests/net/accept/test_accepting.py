from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from pagent.net.accept.accepting import ShortageError, accept_one


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


def test_a_connection_and_its_address(listening: socket.socket) -> None:
    assert accept_one(listening) is None
    with socket.create_connection(listening.getsockname()):
        accepted = accept_one(listening)
    assert accepted is not None
    with accepted[0] as sock:
        assert accepted[1] == "127.0.0.1"
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_descriptors(listening: socket.socket, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(socket.socket, "accept", lambda _: (_ for _ in ()).throw(OSError(number, "short")))
    with pytest.raises(ShortageError):
        accept_one(listening)


def test_another_error_is_a_fault(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "accept", lambda _: (_ for _ in ()).throw(OSError(errno.EINVAL, "bad")))
    with pytest.raises(OSError, match="bad") as raised:
        accept_one(listening)
    assert not isinstance(raised.value, ShortageError)
