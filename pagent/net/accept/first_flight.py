"""Decide whether the first bytes of a connection are complete: a TLS ClientHello, or a request head.

Every usual client sends them in one piece. A connection is only a socket until they are complete, so a client that
sends a byte now and then takes no other memory, and can be distinguished from one that waits for an answer.
"""

from __future__ import annotations

from typing import Final

from pagent.limits import KIB

#: Bytes that are inspected. Longer first flights go to the protocol, which has its own bound.
FIRST_FLIGHT_MAX: Final = 4 * KIB

_TLS_HANDSHAKE: Final = 0x16
_TLS_RECORD_HEADER: Final = 5


def is_whole_hello(data: bytes) -> bool:
    """Return whether ``data`` begins with a whole TLS handshake record (RFC 8446 section 5.1), or with anything else.

    TLS refuses anything else.
    """
    if data[0] != _TLS_HANDSHAKE or len(data) >= FIRST_FLIGHT_MAX:
        return True
    return len(data) >= _TLS_RECORD_HEADER and len(data) >= _TLS_RECORD_HEADER + int.from_bytes(data[3:5], "big")


def is_whole_request(data: bytes) -> bool:
    """Return whether ``data`` has a whole request head, or does not begin as one; the protocol refuses the latter."""
    if len(data) >= FIRST_FLIGHT_MAX or not (data[:1].isalpha() or data[:1] in (b"\r", b"\n")):
        return True
    return b"\n\r\n" in data or b"\n\n" in data
