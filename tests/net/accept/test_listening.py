"""Where a listening socket is reached."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing

import pytest

from pagent.net.accept.listening import listen


def reached(interface: str | None) -> set[str]:
    """Which addresses of the loopback lead to it; all sockets have one port."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(sock)) for sock in listen(interface, 0)]
        (port,) = {sock.getsockname()[1] for sock in sockets}
        found = set()
        for host in ("127.0.0.1", "::1"):
            try:
                socket.create_connection((host, port)).close()
            except OSError:
                continue
            found.add(host)
        return found


needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")


@needs_ipv6
@pytest.mark.parametrize("interface", [None, "", "::"])
def test_all_addresses_are_those_of_both_families(interface: str | None) -> None:
    assert reached(interface) == {"127.0.0.1", "::1"}


@pytest.mark.parametrize("interface", [None, ""])
def test_without_ipv6_they_are_those_of_ipv4(interface: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert reached(interface) == {"127.0.0.1"}


def test_one_address_is_that_one_only() -> None:
    assert reached("127.0.0.1") == {"127.0.0.1"}
    assert reached("0.0.0.0") == {"127.0.0.1"}


@needs_ipv6
def test_one_address_of_ipv6_is_that_one_only() -> None:
    assert reached("::1") == {"::1"}


@needs_ipv6
def test_all_addresses_of_a_name_have_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(sock)) for sock in listen("name", 0)]
        assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
        assert len({sock.getsockname()[1] for sock in sockets}) == 1


def test_a_port_that_is_taken() -> None:
    with closing(listen("127.0.0.1", 0)[0]) as first, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", first.getsockname()[1])
