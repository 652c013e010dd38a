"""The token of a browser that opens a WebSocket: it can set no field, but it can offer subprotocols.

The subprotocol ``pagent.bearer.<base64url of the token>`` is a token, as in Kubernetes. It is never selected, and never
logged.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from pagent.http1.incoming import IncomingHead

_FIELD: Final = "sec-websocket-protocol"
_BEARER: Final = "pagent.bearer."
#: Returned for a token that cannot be decoded. No valid token has a line feed.
_INVALID: Final = "\n"


def offered(head: IncomingHead) -> list[str]:
    """Return the subprotocols that a handshake offers (RFC 6455 section 11.3.4), tokens included."""
    values = head.values(_FIELD)
    return [each for value in values for part in value.split(",") if (each := part.strip(" \t"))]


def presented_tokens(head: IncomingHead) -> list[str]:
    """Return the tokens that a handshake presents as subprotocols."""
    return [_decoded(each.removeprefix(_BEARER)) for each in offered(head) if each.startswith(_BEARER)]


def is_token(subprotocol: str) -> bool:
    """Return whether a subprotocol is a token."""
    return subprotocol.startswith(_BEARER)


def _decoded(text: str) -> str:
    text = text.rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return _INVALID
    return data.decode("utf-8", "surrogateescape") or _INVALID
