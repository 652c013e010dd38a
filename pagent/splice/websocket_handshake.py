"""The opening handshake of a caller's WebSocket with a job: the request, and an answer that refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pagent.errors import WSServerHandshakeError
from pagent.http1.fields import BadResponse
from pagent.http1.heads import RequestHead, ResponseHead
from pagent.http1.response import ResponseParser
from pagent.limits import REFUSAL_TEXT_MAX
from pagent.wire.upgrade import ClientUpgrade

#: Fields of the caller's own handshake, and the framing of a body that an upgrade does not have.
_NOT_PASSED: Final = frozenset(
    {
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "transfer-encoding",
    }
)


def upgrade_for(request: RequestHead, subprotocols: Sequence[str]) -> ClientUpgrade:
    """Return the opening handshake towards the job, with the fields of a GET that has been checked already."""
    start, *fields = request.data.decode("utf-8", "surrogateescape").split("\r\n")[:-2]
    host, *others = [field.partition(": ") for field in fields]
    passed = [(name, value) for name, _, value in others if _is_passed(name.lower())]
    return ClientUpgrade(host[2], start.split(" ")[1], subprotocols=subprotocols, headers=passed)


def _is_passed(name: str) -> bool:
    return name not in _NOT_PASSED and not name.startswith("content-")


class Refusal:
    """Collects the beginning of the body of an answer that is no 101: it has the reason."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._text = b""
        self._complete = False
        self._parser = ResponseParser(self, head_request=False)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes of the answer. Return True once the text is complete, or long enough."""
        try:
            self._parser.feed(data)
            while self._parser.more and not self._is_enough:
                self._parser.feed(b"")
        except BadResponse:
            return True
        return self._is_enough

    @property
    def _is_enough(self) -> bool:
        return self._complete or len(self._text) >= REFUSAL_TEXT_MAX

    def error(self) -> WSServerHandshakeError:
        """Return the error for the caller."""
        text = self._text[:REFUSAL_TEXT_MAX].decode("utf-8", "replace").strip()
        return WSServerHandshakeError(self._status, text)

    def head(self, head: ResponseHead, /) -> None:
        if head.content_encoding is not None:
            self._complete = True  # its text is not readable

    def body(self, data: bytes | memoryview, /) -> None:
        if not self._complete and len(self._text) < REFUSAL_TEXT_MAX:
            self._text += bytes(data)

    def trailers(self, fields: list[list[str]], /) -> None:
        """Ignored."""

    def complete(self, reusable: bool, /) -> None:
        self._complete = True
