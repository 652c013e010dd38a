"""Opening handshakes, both sides, and with recorded handshakes of older peers."""

from __future__ import annotations

import base64
import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.errors import HandshakeRefusedError, ProtocolError
from pagent.wire.upgrade import SUBPROTOCOL, ClientUpgrade, UpgradeRefused, accept_upgrade

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def key_of(request: bytes) -> bytes:
    fields = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if line)
    return {name.lower(): value for name, value in fields.items()}[b"sec-websocket-key"]


def answer_to(request: bytes, *extra: bytes, accept: bytes | None = None) -> bytes:
    accept = accept or base64.b64encode(hashlib.sha1(key_of(request) + GUID, usedforsecurity=False).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    return b"\r\n".join((*lines, b"Sec-WebSocket-Accept: " + accept, *extra, b"", b""))


def dialling() -> ClientUpgrade:
    return ClientUpgrade("router:80", "/rpc/v1", subprotocols=[SUBPROTOCOL])


def feed_all(upgrade: ClientUpgrade, blob: bytes, step: int) -> bytes:
    """Return the bytes after the answer at the start of ``blob``, given in pieces; EOFError if it does not end."""
    for at in range(0, len(blob), step):
        rest = upgrade.feed(blob[at : at + step])
        if rest is not None:
            return rest + blob[at + step :]
    raise EOFError


CHOSEN = b"Sec-WebSocket-Protocol: " + SUBPROTOCOL.encode()


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_the_answer_may_come_in_pieces_and_frames_after_it_are_kept(step: int) -> None:
    upgrade = dialling()
    answer = answer_to(upgrade.request(), CHOSEN)
    blob = answer + b"\x82\x00"
    assert feed_all(upgrade, blob, step) == b"\x82\x00"
    assert upgrade.subprotocol == SUBPROTOCOL


def test_the_stray_transfer_encoding_of_routers_in_the_field() -> None:
    upgrade = dialling()
    answer = answer_to(upgrade.request(), b"Transfer-Encoding: chunked", CHOSEN, b"Date: today", b"Server: x")
    assert upgrade.feed(answer) == b""


def test_headers_of_the_caller_are_sent() -> None:
    upgrade = ClientUpgrade("job", "/a?b", headers=[("Cookie", "a=ü")])
    request = upgrade.request()
    assert request.startswith(b"GET /a?b HTTP/1.1\r\n")
    assert "Cookie: a=ü\r\n".encode() in request


@pytest.mark.parametrize(
    ("host", "target", "headers"),
    [
        ("job\u00a0", "/", []),
        ("a\ud800b", "/", []),
        (f"{'a' * 64}\u00e4", "/", []),
        ("job", "/a b", []),
        ("job", "/\u00e4", []),
        ("job", "/", [("A", "b\0c")]),
        ("job", "/", [("A b", "c")]),
        ("job", "/", [("\u0100", "c")]),
        ("job", "/", [("A", "b\r\nC: d")]),
        ("job", "/", [("Content-Length", "x")]),
        ("job", "/", [("Host", "another")]),
    ],
)
def test_what_no_request_can_be_made_of_is_a_value_error(
    host: str, target: str, headers: list[tuple[str, str]]
) -> None:
    with pytest.raises(ValueError, match=r"^no WebSocket handshake can be made of this: "):
        ClientUpgrade(host, target, headers=headers)


@pytest.mark.parametrize("status", [200, 301, 404, 503])
def test_another_status_is_reported(status: int) -> None:
    upgrade = dialling()
    answer = b"HTTP/1.1 %d Because\r\nContent-Length: 2\r\n\r\nno" % status
    with pytest.raises(UpgradeRefused) as caught:
        upgrade.feed(answer)
    assert caught.value.status == status
    assert caught.value.answer == answer


@pytest.mark.parametrize(
    ("extra", "accept"),
    [
        ((), b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ((b"Sec-WebSocket-Protocol: another",), None),
        ((b"Sec-WebSocket-Protocol: \xff",), None),
        ((b"Connection: \xff",), None),
        ((b"sec-websocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=",), None),
        ((b"A: b\nC: d",), None),
        ((b"Sec-WebSocket-Extensions: permessage-deflate",), None),
    ],
)
def test_answers_that_are_not_ours_are_refused(extra: tuple[bytes, ...], accept: bytes | None) -> None:
    upgrade = dialling()
    with pytest.raises(ProtocolError):
        upgrade.feed(answer_to(upgrade.request(), *extra, accept=accept))


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_interim_answers_are_skipped(step: int) -> None:
    upgrade = dialling()
    interim = b"HTTP/1.1 100\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    blob = interim + answer_to(upgrade.request(), CHOSEN) + b"\x82\x00"
    assert feed_all(upgrade, blob, step) == b"\x82\x00"
    upgrade = dialling()
    with pytest.raises(UpgradeRefused) as caught:
        upgrade.feed(interim + b"HTTP/1.1 404 No\r\n\r\nbecause")
    assert (caught.value.status, caught.value.answer) == (404, b"HTTP/1.1 404 No\r\n\r\nbecause")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",  # waits for the other side then
        b"\r\n",
        b"\x00",
        b"HTTP/2 101",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 101 x\nUpgrade: websocket\n\n",
        b"HTTP/1.1 1000 x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_as_soon_as_that_is_clear(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        dialling().feed(answer)
    with pytest.raises(ProtocolError):
        feed_all(dialling(), answer, 1)


@pytest.mark.parametrize("start", [b"HTTP/1.1 101 x\r\nA: ", b"HTTP/1.1 102 x\r\n\r\n"])
def test_an_answer_without_end_is_refused(start: bytes) -> None:
    upgrade = dialling()
    with pytest.raises(EOFError):
        feed_all(upgrade, (start * 1000)[: 16 << 10], 100)
    with pytest.raises(ProtocolError, match="longer"):
        upgrade.feed(b"HTTP")


LINES = [
    b"HTTP/1.1 101 x", b"HTTP/1.1 200", b"HTTP/1.0 103 x", b"HTTP/1.1 999 x", b"A: \xff", b" A", b":", b"\0", b"\n",
    b"", b"Sec-WebSocket-Extensions: a;b=c", b"Sec-WebSocket-Protocol: \xff", b"Sec-WebSocket-Accept: x", CHOSEN,
    b"Content-Length: x", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Upgrade: h2c", b"Connection: close",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(LINES), max_size=3), st.lists(st.sampled_from(LINES), max_size=3), st.binary(max_size=3)
)
def test_any_answer_is_an_upgrade_or_refused(before: list[bytes], more: list[bytes], after: bytes) -> None:
    upgrade = dialling()
    blob = b"".join(line + b"\r\n" for line in before) + answer_to(upgrade.request(), *more) + after
    with contextlib.suppress(ProtocolError, UpgradeRefused):
        rest = upgrade.feed(blob)
        assert rest is None or (rest.endswith(after) and blob.endswith(b"\r\n\r\n" + rest))


REQUEST = {
    b"Host": b"agent",
    b"Upgrade": b"websocket",
    b"Connection": b"keep-alive, Upgrade",
    b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Protocol": b"other, " + SUBPROTOCOL.encode(),
}


def test_a_request_is_accepted() -> None:
    answer = accept_upgrade("/rpc/v1", REQUEST.items())
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer  # the example of RFC 6455 section 1.3
    assert SUBPROTOCOL.encode() in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "change",
    [
        {b"Upgrade": None},
        {b"Upgrade": b"h2c"},
        {b"Connection": b"close"},
        {b"Sec-WebSocket-Key": None},
        {b"Sec-WebSocket-Version": b"8"},
        {b"Sec-WebSocket-Protocol": None},
        {b"Sec-WebSocket-Protocol": b"other"},
        {b"Sec-WebSocket-Protocol": b"\xff"},
        {b"Upgrade": b"\xff"},
        {b"Host": b"\xff"},
    ],
)
def test_what_asks_for_something_else_is_refused(change: dict[bytes, bytes | None]) -> None:
    headers = [(name, value) for name, value in (REQUEST | change).items() if value is not None]
    with pytest.raises(HandshakeRefusedError):
        accept_upgrade("/rpc/v1", headers)


def test_no_extension_is_agreed_on() -> None:
    headers = [*REQUEST.items(), (b"Sec-WebSocket-Extensions", b"permessage-deflate")]
    assert b"Extensions" not in accept_upgrade("/rpc/v1", headers)
