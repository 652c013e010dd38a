"""Whether the first bytes of a connection are whole, at every split."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.net.accept.first_flight import FIRST_FLIGHT_MAX, is_whole_hello, is_whole_request


def client_hello() -> bytes:
    """Return the first bytes of a TLS client."""
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def test_a_hello_is_whole_at_its_end() -> None:
    hello = client_hello()
    assert [is_whole_hello(hello[:end]) for end in range(1, len(hello) + 1)] == [False] * (len(hello) - 1) + [True]
    assert is_whole_hello(hello + b"more")


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\n\r\n"])
def test_a_request_head_is_whole_at_its_end(end: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x" + end
    assert [is_whole_request(head[:stop]) for stop in range(1, len(head) + 1)] == [False] * (len(head) - 1) + [True]
    assert is_whole_request(head + b"body")


@pytest.mark.parametrize("data", [b"\x16\x03", b" ", b"\x00", b"\xff\xff"])
def test_what_does_not_begin_as_a_request_goes_to_the_protocol_at_once(data: bytes) -> None:
    assert is_whole_request(data)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1", b"\x15\x03", b"\x00"])
def test_what_does_not_begin_as_tls_goes_to_tls_at_once(data: bytes) -> None:
    assert is_whole_hello(data)


@given(st.binary(max_size=10), st.sampled_from([b"\x16\x03\x01\xff\xff", b"G"]))
def test_long_first_bytes_go_to_the_protocol(end: bytes, begin: bytes) -> None:
    data = begin + bytes(FIRST_FLIGHT_MAX) + end
    assert is_whole_hello(data)
    assert is_whole_request(data)
