"""The head of a 101, which no other parser reads: its protocol and its fields."""

from __future__ import annotations

import pytest

from pagent.http1.fields import BadResponse
from pagent.http1.response_head import switch_fields

OFFERED = frozenset({"mine", "websocket"})


def switch(*lines: bytes, start: bytes = b"HTTP/1.1 101 Switching Protocols") -> list[list[str]]:
    return switch_fields(b"\r\n".join([start, *lines]), OFFERED)


@pytest.mark.parametrize("protocol", [b"mine", b"WebSocket", b" mine ", b"mine, websocket"])
def test_an_offered_protocol_in_any_spelling(protocol: bytes) -> None:
    fields = switch(b"connection: Upgrade", b"upgrade:" + protocol, b"x-a: 1")
    assert fields == [["connection", "Upgrade"], ["upgrade", protocol.decode().strip()], ["x-a", "1"]]


@pytest.mark.parametrize("lines", [(), (b"Upgrade: other",), (b"Upgrade: mine, other",), (b"Upgrade: ",)])
def test_a_protocol_that_was_not_offered(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(BadResponse, match="not offered"):
        switch(*lines)


@pytest.mark.parametrize(
    "line", [b"Transfer-Encoding: chunked", b"content-length: 0", b"Keep-Alive: timeout=5", b"Proxy-Connection: x"]
)
def test_fields_that_frame_a_body_or_belong_to_the_hop_are_dropped(line: bytes) -> None:
    """Some servers send a length or chunked with a 101, which has no body."""
    assert switch(line, b"Upgrade: mine") == [["Upgrade", "mine"], ["Connection", "Upgrade"]]


@pytest.mark.parametrize(
    "lines", [(), (b"Connection: keep-alive",), (b"connection: x", b"Connection: close, y"), (b"Connection:",)]
)
def test_the_connection_option_that_clients_ask_for_is_added(lines: tuple[bytes, ...]) -> None:
    assert switch(*lines, b"Upgrade: mine")[-1] == ["Connection", "Upgrade"]


@pytest.mark.parametrize("line", [b"Connection: UPGRADE", b"connection: keep-alive, Upgrade"])
def test_the_connection_option_is_added_once(line: bytes) -> None:
    fields = switch(line, b"Upgrade: mine")
    assert [pair[0].lower() for pair in fields] == ["connection", "upgrade"]


@pytest.mark.parametrize("lines", [(b"no colon",), (b"a b: c",), (b" folded: x",), (b"a: \0",)])
def test_malformed_fields(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(BadResponse):
        switch(b"Upgrade: mine", *lines)


def test_too_many_fields() -> None:
    with pytest.raises(BadResponse, match="too many"):
        switch(*[b"a: b"] * 2000)


def test_the_status_line_is_checked() -> None:
    with pytest.raises(BadResponse, match="status line"):
        switch(b"Upgrade: mine", start=b"HTTP/2 101")
