"""The socket that connections to a port reach."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest

from pagent.jobs.listener import listener_of

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs sock_diag(7)")


def listening(host: str, port: int = 0, **options: Any) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, **options)


@linux
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_each_socket_has_its_own(host: str) -> None:
    with listening(host) as one, listening(host) as two:
        port = one.getsockname()[1]
        first = listener_of(port)
        assert first
        with socket.create_connection(one.getsockname()[:2]):
            assert listener_of(port) == first
        assert listener_of(two.getsockname()[1]) not in (0, first, None)
    assert listener_of(port) == 0
    with listening(host, port):
        assert listener_of(port) not in (0, first, None)


@linux
def test_the_one_that_is_reached() -> None:
    """The agent tries ::1 only where 127.0.0.1 refuses."""
    with listening("::1") as six:
        port = six.getsockname()[1]
        found = listener_of(port)
        with listening("127.0.0.1", port):
            assert listener_of(port) not in (0, found, None)
        assert listener_of(port) == found


@linux
def test_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket, "socket", refuse)
    assert listener_of(1) is None
