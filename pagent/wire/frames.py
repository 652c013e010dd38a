"""WebSocket frames (RFC 6455 section 5): bytes in, whole messages out, and back. No socket, no clock.

Receive: :class:`FrameDecoder` is fed the bytes of a socket and returns complete messages, joined from their fragments.
No memory is allocated by a length that an unauthenticated peer claims, and nothing is kept for each piece or fragment,
of which there may be many empty ones. A large frame of an accepted peer is received into a separate buffer, or its
payload is a view of the bytes that were received.

Send: :func:`frame_header` for an unmasked frame, whose payload is not touched, :func:`binary_frame` for a small one,
and :func:`masked_frame`. With a compiler, the common frames have routines in C (``_frames.c``).

Bytes that break the RFC raise :class:`~pagent.errors.ProtocolError` with the close code to send.
"""

from __future__ import annotations

import codecs
import struct
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.errors import ProtocolError
from pagent.limits import DIRECT_FRAME_MAX, FRAMES_AT_ONCE, KIB
from pagent.wire import native
from pagent.wire.closing import INVALID_PAYLOAD, MESSAGE_TOO_BIG
from pagent.wire.closing import close_payload as close_payload
from pagent.wire.closing import valid_close_code as valid_close_code
from pagent.wire.frame_encoding import BINARY as BINARY
from pagent.wire.frame_encoding import CLOSE as CLOSE
from pagent.wire.frame_encoding import CONTINUATION as CONTINUATION
from pagent.wire.frame_encoding import PING as PING
from pagent.wire.frame_encoding import PONG as PONG
from pagent.wire.frame_encoding import TEXT as TEXT
from pagent.wire.frame_encoding import binary_frame as binary_frame
from pagent.wire.frame_encoding import binary_head as binary_head
from pagent.wire.frame_encoding import frame_header as frame_header
from pagent.wire.frame_encoding import mask as mask
from pagent.wire.frame_encoding import masked_frame as masked_frame

#: A frame is received into a separate buffer if at least this many of its bytes are missing.
DIRECT_LEAST: Final = 64 * KIB
#: A payload of at least this size is used where it was received, without a copy.
VIEW_LEAST: Final = 16 * KIB

_whole_frames: Final = native.whole_frames
_WHOLE_BINARY: Final = 0x80 | BINARY
_KNOWN: Final = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
#: Bytes of a header by the 7 bits of its length, without the mask key; and the longest, with it (5.2).
_HEADER_BYTES: Final = (*[2] * 126, 4, 10)
_HEADER_MAX: Final = 14
#: Received bytes up to this size are copied, which makes their decoding faster.
_COPIED_MAX: Final = 16 * 1024
_UNPACK_16: Final = struct.Struct("!H").unpack_from
_UNPACK_64: Final = struct.Struct("!Q").unpack_from


class FrameDecoder:
    """Incremental decoder of one direction of a WebSocket connection.

    :param masked: whether frames must be masked; a server requires it, a client refuses it (5.1).
    :param max_message: bytes of a message (fragments together) above which 1009 is raised.
    :param in_c: whether common frames are decoded in C where it is compiled.
    """

    __slots__ = (
        "_direct",
        "_fault",
        "_got",
        "_head",
        "_in_c",
        "_key",
        "_mask_bit",
        "_message",
        "_missing",
        "_opcode",
        "_part",
        "_tail",
        "_utf8",
        "at_once",
        "direct",
        "max_message",
        "more",
    )

    def __init__(self, *, masked: bool, max_message: int, in_c: bool = True) -> None:
        self._mask_bit = 0x80 if masked else 0
        self.max_message = max_message
        #: The most frames that one call of :meth:`feed` decodes.
        self.at_once = FRAMES_AT_ONCE
        # The bools stand together: compiled, they are bytes, and thousands of WebSockets have a decoder.
        self._in_c = in_c
        #: Whether a frame of moderate size gets a buffer by the length that the peer claims: only for an accepted peer.
        self.direct = False
        #: Whether :meth:`feed` has left frames for its next call, which may be a call without bytes.
        self.more = False
        self._fault: ProtocolError | None = None
        # The frame that is being received.
        self._tail: bytes = b""  # bytes of an incomplete frame header, or of frames that were left
        self._missing = 0  # payload bytes of the frame that have not arrived
        self._part: bytearray | None = None  # those that have arrived, unmasked
        self._direct: bytearray | None = None  # instead: its payload, still masked,
        self._got = 0  # and the number of its bytes that have arrived
        self._head = 0
        self._key: bytes = b""
        # The message that is being received in fragments.
        self._opcode = 0
        self._message: bytearray | None = None
        self._utf8: codecs.IncrementalDecoder | None = None

    def feed(self, data: Bytes, *, views: bool = False) -> list[tuple[int, Any]]:
        """Return the messages that ``data`` completes, in order: ``(opcode, payload)``; see ``more`` for left frames.

        The payload is a ``str`` for TEXT, ``(code, reason)`` for CLOSE, bytes-like for BINARY, PING and PONG.
        Code 1005 means a close frame without a code (7.1.5). Nothing of ``data`` is kept, except with ``views``: then
        ``data`` is a writable memoryview, and a payload of VIEW_LEAST bytes and more may be a view of it.

        :raises ProtocolError: if there is no message before the fault; otherwise :meth:`check` raises it.
        """
        messages: list[tuple[int, Any]] = []
        try:
            self._feed(data, messages, views)
        except ProtocolError as error:
            if not messages:
                raise
            self._fault = error
        return messages

    @property
    def held(self) -> int:
        """Bytes of the message that is not complete yet."""
        message = 0 if self._message is None else len(self._message)
        part = 0 if self._part is None else len(self._part)
        return message + part + (self._got if self._direct is not None else 0)

    def check(self) -> None:
        """Raise the ProtocolError that came after the messages of :meth:`feed`; call it after handling them."""
        if self._fault is not None:
            raise self._fault

    def space(self) -> memoryview | None:
        """Return the buffer of a large frame for the next read, after which :meth:`filled` is called; or None.

        None also for the end of such a frame: copying it costs less than a read that ends with it.
        """
        if self._direct is None or len(self._direct) - self._got < DIRECT_LEAST:
            return None
        return memoryview(self._direct)[self._got :]

    def filled(self, count: int) -> list[tuple[int, Any]]:
        """Decode ``count`` bytes that were written into :meth:`space`; return messages as :meth:`feed` does."""
        direct = self._direct
        assert direct is not None
        self._got += count
        if self._got < len(direct):
            return []
        self._direct = None
        messages: list[tuple[int, Any]] = []
        self._frame(direct, messages)
        return messages

    def _feed(self, data: Bytes, messages: list[tuple[int, Any]], views: bool) -> None:
        at = 0
        if self._direct is not None:
            at = min(len(data), len(self._direct) - self._got)
            self._direct[self._got : self._got + at] = memoryview(data)[:at]
            messages += self.filled(at)
        elif self._missing:
            at = min(len(data), self._missing)
            self._piece(memoryview(data)[:at])
            if self._missing:
                return
            part, self._part = self._part, None
            self._plain_frame(part, messages)
        elif self._tail:
            data = b"".join((self._tail, data)) if data else self._tail
            self._tail = b""
            views = False
        view: memoryview | None = None
        end = len(data)
        copy: bytes | None = None
        done = 0
        self.more = False
        while end - at >= 2:
            if _whole_frames is not None and self._in_c and not self._opcode:
                rest = memoryview(data)[at:] if at else data
                least = VIEW_LEAST if views else 0
                before = len(messages)
                most = before + self.at_once - done
                at += _whole_frames(rest, self._mask_bit != 0, self.max_message, least, most, messages)
                done += len(messages) - before
                if end - at < 2:
                    break
            if done >= self.at_once:
                self.more = True
                break
            done += 1
            if view is None:
                view = memoryview(data)
            if copy is None and end <= _COPIED_MAX:
                copy = bytes(data)  # slices of bytes cost a tenth of those of a view
            head = bytes(view[at : at + _HEADER_MAX]) if copy is None else copy[at : at + _HEADER_MAX]
            length = head[1] & 0x7F
            start = _HEADER_BYTES[length] + (4 if self._mask_bit else 0)
            if start > len(head):
                self._check_header(head[0], head[1])
                break
            if length == 126:
                length = head[2] << 8 | head[3]
                if length < 126:
                    raise ProtocolError("payload length is not encoded in the fewest bytes")
            elif length == 127:
                length = _UNPACK_64(head, 2)[0]
                if length < 0x1_0000 or length >> 63:
                    raise ProtocolError("payload length is not encoded in the fewest bytes")
            self._head = head[0]
            if self._head != _WHOLE_BINARY or self._opcode or head[1] & 0x80 != self._mask_bit:
                self._check_header(self._head, head[1])
            before_it = 0 if self._message is None else len(self._message)
            if length + before_it > self.max_message and not self._head & CLOSE:
                raise ProtocolError(f"message of more than {self.max_message} bytes", MESSAGE_TOO_BIG)
            if self._mask_bit:
                self._key = head[start - 4 : start]
            start += at
            at = start + length
            if at > end:
                self._begin(length, view[start:])
                return
            if self._mask_bit:
                self._frame(bytearray(view[start:at] if copy is None else copy[start:at]), messages)
            else:
                self._frame(bytes(view[start:at]) if copy is None else copy[start:at], messages)
        if at < end:
            self._tail = bytes(memoryview(data)[at:])

    def _begin(self, length: int, first: memoryview) -> None:
        """Begin a frame of which only the first bytes have arrived."""
        if self.direct and length <= DIRECT_FRAME_MAX and not self._is_text():
            self._direct = bytearray(length)
            self._direct[: len(first)] = first
            self._got = len(first)
        else:
            self._missing = length
            self._piece(first)

    def _piece(self, data: memoryview) -> None:
        """Add bytes to a frame; text is checked as it arrives, so that invalid text fails at once (8.1)."""
        piece = bytearray(data)
        if self._part is None:
            self._part = bytearray()
        if self._mask_bit:
            turn = len(self._part) & 3
            mask(self._key[turn:] + self._key[:turn], piece)
        if self._is_text():
            self._check_text(piece, False)
        self._part += piece
        self._missing -= len(piece)

    def _is_text(self) -> bool:
        """Return whether the current frame belongs to a text message."""
        opcode = self._head & 0x0F
        return opcode == TEXT or (opcode == CONTINUATION and self._opcode == TEXT)

    def _check_text(self, payload: Bytes, final: bool) -> None:
        if self._utf8 is None:
            self._utf8 = codecs.getincrementaldecoder("utf-8")()
        try:
            self._utf8.decode(payload, final)
        except UnicodeDecodeError:
            raise ProtocolError("text is not valid UTF-8", INVALID_PAYLOAD) from None

    def _check_header(self, head: int, second: int) -> None:
        if head & 0x70:
            raise ProtocolError("reserved bit set")
        if second & 0x80 != self._mask_bit:
            raise ProtocolError("frame is not masked" if self._mask_bit else "frame is masked")
        opcode = head & 0x0F
        if opcode not in _KNOWN:
            raise ProtocolError(f"reserved opcode {opcode}")
        if opcode >= CLOSE:
            if not head & 0x80:
                raise ProtocolError("fragmented control frame")
            if second & 0x7F > 125:
                raise ProtocolError("control frame of more than 125 bytes")
        elif opcode == CONTINUATION:
            if not self._opcode:
                raise ProtocolError("continuation of no message")
        elif self._opcode:
            raise ProtocolError("new message inside a fragmented one")

    def _frame(self, payload: Any, messages: list[tuple[int, Any]]) -> None:
        """Handle one whole frame, still masked if frames are."""
        if self._mask_bit:
            mask(self._key, payload)
        if self._head == _WHOLE_BINARY:
            messages.append((BINARY, payload))
        elif self._head == 0x80 | TEXT:
            messages.append((TEXT, _text(payload)))
        else:
            if self._is_text():
                self._check_text(payload, False)
            self._plain_frame(payload, messages)

    def _plain_frame(self, payload: Any, messages: list[tuple[int, Any]]) -> None:
        """Handle one unmasked frame. The text of a text message has been checked up to here."""
        opcode = self._head & 0x0F
        if opcode >= CLOSE:
            messages.append((opcode, _close_reason(payload) if opcode == CLOSE else payload))
            return
        self._opcode = self._opcode or opcode
        if not self._head & 0x80:
            if self._message is None:
                self._message = bytearray()
            self._message += payload
            return
        whole = payload if self._message is None else self._message + payload
        opcode, self._opcode, self._message = self._opcode, 0, None
        if opcode == TEXT:
            self._check_text(b"", True)
            self._utf8 = None
            whole = _text(whole)
        messages.append((opcode, whole))


def _text(payload: Bytes) -> str:
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("text is not valid UTF-8", INVALID_PAYLOAD) from None


def _close_reason(payload: Bytes) -> tuple[int, str]:
    if not payload:
        return 1005, ""
    if len(payload) < 2:
        raise ProtocolError("close frame with an incomplete code")
    code = _UNPACK_16(payload)[0]
    if not valid_close_code(code):
        raise ProtocolError(f"close code {code} may not be sent")
    return code, _text(memoryview(payload)[2:])
