"""Opening handshakes of WebSocket connections, both sides, by wsproto (RFC 6455 section 4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from h11 import LocalProtocolError as H11Error
from wsproto import ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import ProtocolError as WsprotoError

from pagent.errors import HandshakeRefusedError, ProtocolError
from pagent.limits import UPGRADE_ANSWER_MAX

SUBPROTOCOL: Final = "v1.prpc.datadvance"
RPC_PATH: Final = "/rpc/v1"

_START: Final = b"HTTP/1."
_is_interim = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}[ \r]").match
_lone_lf = re.compile(rb"(?<!\r)\n").search


class UpgradeRefused(Exception):
    """The other side has not answered with 101: ``status``, and the beginning of the answer, ``answer``."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__(f"HTTP status {status} instead of an upgrade")
        self.status = status
        self.answer = answer


class ClientUpgrade:
    """The dialling side: send :meth:`request`, then call :meth:`feed` until it returns the bytes after the answer.

    ValueError if its parts, which may come from a caller, make no valid request.
    """

    def __init__(
        self,
        host: str,
        target: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._handshake = H11Handshake(ConnectionType.CLIENT)
        try:
            extra = [(name.encode("latin-1"), value.encode("utf-8", "surrogateescape")) for name, value in headers]
            event = Request(host=host, target=target, subprotocols=list(subprotocols), extra_headers=extra)
            self._request = self._handshake.send(event)
        except (H11Error, WsprotoError, UnicodeError) as error:
            raise ValueError(f"no WebSocket handshake can be made of this: {error}") from None
        self._subprotocols = subprotocols
        self._buffer = bytearray()
        self._skipped = 0  # bytes of interim answers
        self.subprotocol: str | None = None

    def request(self) -> bytes:
        return self._request

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes of the other side; return None while its answer is incomplete, then the bytes after the 101.

        :raises UpgradeRefused: another status. ProtocolError: the answer is not valid.
        """
        self._buffer += data
        end = self._cut()
        if end is None:
            return None
        head = _without_transfer_encoding(bytes(self._buffer[:end]))
        try:
            self._handshake.receive_data(head)
            events = list(self._handshake.events())
        except (WsprotoError, UnicodeError) as error:  # it decodes some headers
            raise ProtocolError(f"the answer to the upgrade is not valid: {error}") from None
        for event in events:
            if isinstance(event, AcceptConnection):
                if event.subprotocol is not None and event.subprotocol not in self._subprotocols:
                    raise ProtocolError("the other side chose a subprotocol that was not offered")
                if head.lower().count(b"\r\nsec-websocket-accept:") > 1:  # RFC 6455 11.3.3
                    raise ProtocolError("the answer to the upgrade has more than one Sec-WebSocket-Accept")
                self.subprotocol = event.subprotocol
                return bytes(self._buffer[end:])
            if isinstance(event, RejectConnection):
                raise UpgradeRefused(event.status_code, bytes(self._buffer))
        raise ProtocolError("the answer to the upgrade is not valid")

    def _cut(self) -> int | None:
        """Return the end of the head at the start of the buffer, after interim answers; None until it is complete.

        A buffer that cannot become a head is an error at once: no further bytes may ever come.
        """
        buffer = self._buffer
        while (end := buffer.find(b"\r\n\r\n") + 4) >= 4 and _is_interim(buffer):  # RFC 9110 15.2
            del buffer[:end]
            self._skipped += end
        length = end if end >= 4 else len(buffer)
        if self._skipped + length > UPGRADE_ANSWER_MAX:
            raise ProtocolError(f"the answer to the upgrade is longer than {UPGRADE_ANSWER_MAX} bytes")
        if not _START.startswith(buffer[: len(_START)]) or _lone_lf(buffer, 0, length):
            raise ProtocolError("the answer to the upgrade is not HTTP/1.1")
        return end if end >= 4 else None


def _without_transfer_encoding(head: bytes) -> bytes:
    """Drop the stray ``Transfer-Encoding`` that older routers put into a 101 (docs/protocol.rst, "Transport")."""
    first, *fields = head.split(b"\r\n")
    if b" 101" not in first:
        return head
    kept = [field for field in fields if not field.lower().startswith(b"transfer-encoding:")]
    return b"\r\n".join((first, *kept))


def accept_upgrade(target: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the 101 for a request to the RPC route.

    :raises HandshakeRefusedError: if the request is no WebSocket handshake, or does not offer our subprotocol.
    """
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection(list(headers), target)
        request = next(handshake.events())
    except (WsprotoError, UnicodeError, StopIteration) as error:
        raise HandshakeRefusedError(f"not a WebSocket handshake: {error}") from None
    if not isinstance(request, Request):
        raise HandshakeRefusedError("not a WebSocket handshake")
    if SUBPROTOCOL not in request.subprotocols:
        raise HandshakeRefusedError(f"the subprotocol {SUBPROTOCOL} is not offered")
    return handshake.send(AcceptConnection(subprotocol=SUBPROTOCOL))
