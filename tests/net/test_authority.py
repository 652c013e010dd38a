from __future__ import annotations

import pytest

from pagent.net.authority import authority_of, peer_text


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("127.0.0.1", "127.0.0.1:80"),
        ("example.org", "example.org:80"),
        ("::1", "[::1]:80"),
        ("fe80::1%eth0", "[fe80::1%eth0]:80"),
    ],
)
def test_a_host_with_its_port(host: str, text: str) -> None:
    assert authority_of(host, 80) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [(("127.0.0.1", 5), "127.0.0.1:5"), (("::1", 5, 0, 0), "[::1]:5"), (None, "unknown"), ("", "unknown")],
)
def test_the_peer_of_a_socket(name: object, text: str) -> None:
    assert peer_text(name) == text
