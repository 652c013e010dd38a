"""The bytes that the job and the load generators share: requests, answers, frames, events.

Every answer head of the job is HEAD_BYTES long, so that a lane through a splice or a tunnel can count bytes
instead of parsing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from itertools import count
from typing import Final

#: Length of the head of every answer of the job, 101 included: about the usual length.
HEAD_BYTES: Final = 320

#: Fields of a browser through a router, with hop-by-hop fields, because deployed routers pass them on.
FIELDS: Final = (
    ("Host", "router.example"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "http://router.example/jobs/5f0c2d/http/index.html"),
    ("Cookie", "session=8f2b7c1d9a34; theme=dark"),
    ("Connection", "keep-alive"),
    ("Sec-Fetch-Dest", "empty"),
    ("Sec-Fetch-Mode", "cors"),
)

WS_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
_WS_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

BLOCK: Final = bytes(64 * 1024)

EVENT_BYTES: Final = 28
_EVENT_STAMP: Final = slice(6, 26)


def request(method: str, target: str, *extra: tuple[str, str]) -> bytes:
    """Return the request head of an HTTP client with the usual fields."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in (*FIELDS, *extra))
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode()


_numbers = count()


def varied_target(size: int) -> str:
    """Return a target for a body of ``size`` bytes, a new one each time, which no cache has."""
    return f"/bytes/{size}/{next(_numbers):010}"


def gets(size: int, *, varied: bool, prefix: str = "") -> Callable[[], bytes]:
    """Return a function for the next GET of a body of ``size`` bytes: always the same head, or ``varied`` ones.

    ``prefix``: what the targets begin with.
    """
    if not varied:
        same = request("GET", f"{prefix}/bytes/{size}")
        return lambda: same
    before, after = request("GET", f"{prefix}*").split(b"*", 1)
    return lambda: before + varied_target(size).encode() + after


def upgrade_request(target: str) -> bytes:
    """Return the opening handshake of a WebSocket client."""
    fields = ["Host: router.example", "Upgrade: websocket", "Connection: Upgrade"]
    fields += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {WS_KEY}"]
    return "\r\n".join([f"GET {target} HTTP/1.1", *fields, "", ""]).encode()


def answer(status: str, *fields: str) -> bytes:
    """Return a response head of exactly HEAD_BYTES."""
    usual = ("Server: bench", "Date: Mon, 01 Jan 2024 00:00:00 GMT", "Content-Type: application/octet-stream")
    lines = [f"HTTP/1.1 {status}", *(() if status.startswith("101") else usual), *fields, "X-Filler: "]
    head = "\r\n".join(lines)
    return (head + "x" * (HEAD_BYTES - len(head) - 4) + "\r\n\r\n").encode()


def accept_key(key: bytes) -> str:
    """Return the Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _WS_GUID.encode()).digest()).decode()


def frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Return a final WebSocket frame. The mask key is zero: the receiver has to unmask, the sender need not mask."""
    return frame_head(opcode, len(payload), masked=masked) + payload


def frame_head(opcode: int, length: int, *, masked: bool) -> bytes:
    mask = 0x80 if masked else 0
    key = b"\0\0\0\0" if masked else b""
    if length < 126:
        return bytes((0x80 | opcode, mask | length)) + key
    if length < 0x1_0000:
        return bytes((0x80 | opcode, mask | 126)) + length.to_bytes(2, "big") + key
    return bytes((0x80 | opcode, mask | 127)) + length.to_bytes(8, "big") + key


def event(now_ns: int) -> bytes:
    """Return a server-sent event that carries the time at which it was written (CLOCK_MONOTONIC)."""
    return b"data: %020d\n\n" % now_ns


def event_times(data: bytes) -> list[int]:
    """Return the times of the events in some bytes of a body, chunked or not. Events are never split."""
    times = []
    at = data.find(b"data: ")
    while at >= 0:
        times.append(int(data[at:][_EVENT_STAMP]))
        at = data.find(b"data: ", at + EVENT_BYTES)
    return times
