"""The contents of a close frame (RFC 6455 sections 5.5.1 and 7.4)."""

from __future__ import annotations

import struct
from typing import Final

#: Bytes of a close frame's reason (5.5: a control frame has 125, two of which are the code).
CLOSE_REASON_MAX: Final = 123
#: Codes of section 7.4.1. docs/protocol.rst, "Close codes", has their meaning on a link.
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
INVALID_PAYLOAD: Final = 1007
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011


def valid_close_code(code: int) -> bool:
    """Return whether a code may be sent in a close frame (7.4.1 and 7.4.2)."""
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


def check_close(code: int, reason: str) -> None:
    """Raise ValueError if a close frame cannot have this code and reason."""
    if not valid_close_code(code):
        raise ValueError(f"close code {code} may not be sent")
    if len(reason.encode("utf-8", "replace")) > CLOSE_REASON_MAX:
        raise ValueError(f"the reason of a close has at most {CLOSE_REASON_MAX} bytes")


def close_payload(code: int, reason: str = "") -> bytes:
    """Return the payload of a close frame. The reason is cut to fit; 1005 and 1006 give an empty payload."""
    if code in (1005, 1006):
        return b""
    return (
        struct.pack("!H", code)
        + reason.encode("utf-8", "replace")[:CLOSE_REASON_MAX].decode("utf-8", "ignore").encode()
    )
