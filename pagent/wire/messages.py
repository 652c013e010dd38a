"""pRpc messages and their bytes (docs/protocol.rst, "Messages", "Extensions").

A message is a msgpack array: ``[kind, call id, ...]``. Two thirds of all traffic are stream messages with a bin,
``[4|8, id, bin]``. These have a fast path, so that a payload is never repacked: :func:`stream_prefix` and
:func:`bin_header` give the bytes before it, and :func:`decode` returns a view of it.

Three kinds of faults (docs/protocol.rst, "Messages that make no sense"):

* bytes that are no message: :class:`~pagent.errors.ProtocolError` with close code 1007;
* a message whose call can be named but that makes no sense: :class:`SenselessMessageError`, fatal for that call;
* all other faults are detected by the floor above.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pagent.buffers import BYTES_TYPES, Bytes
from pagent.errors import ProtocolError
from pagent.limits import ERROR_TEXT_MAX, MESSAGE_COST_MIN, RESULT_ELEMENTS_MAX, VALUE_WEIGHT
from pagent.wire import fast_path, native
from pagent.wire.closing import INVALID_PAYLOAD
from pagent.wire.fast_path import bin_header as bin_header
from pagent.wire.values import UNPACK_FAULTS, TooManyElementsError, first_two, unpack
from pagent.wire.values import pack as pack

HANDSHAKE: Final = 1
CALL_START: Final = 2
CALL_CANCEL: Final = 3
REQUEST_MESSAGE: Final = 4
REQUEST_CLOSE: Final = 5
HANDSHAKE_REPLY: Final = 6
RESULT: Final = 7
RESPONSE_MESSAGE: Final = 8
RESPONSE_CLOSE: Final = 9
#: Extension ``flow``: the caller, and the callee, can take more payload bytes.
CALLER_CREDIT: Final = 10
CALLEE_CREDIT: Final = 11

#: Their names in the log.
NAMES: Final = {
    HANDSHAKE: "handshake",
    CALL_START: "call start",
    CALL_CANCEL: "cancel",
    REQUEST_MESSAGE: "request message",
    REQUEST_CLOSE: "request close",
    HANDSHAKE_REPLY: "handshake reply",
    RESULT: "result",
    RESPONSE_MESSAGE: "response message",
    RESPONSE_CLOSE: "response close",
    CALLER_CREDIT: "credit of the caller",
    CALLEE_CREDIT: "credit of the callee",
}

UNARY: Final = 20
ISTREAM: Final = 30
OSTREAM: Final = 40
BISTREAM: Final = 50
CALL_TYPES: Final = {UNARY: "unary", ISTREAM: "istream", OSTREAM: "ostream", BISTREAM: "bistream"}

SUCCESS: Final = 0
METHOD_ERROR: Final = 10
METHOD_NOT_FOUND: Final = 20
SERVER_ERROR: Final = 30

VERSION: Final = 1

#: The result of most methods, packed.
_NIL: Final = b"\xc0"
#: Bytes of a message that is copied and not viewed in place, and of a call start that is unpacked as tuples.
_SMALL_MAX: Final = 1024
#: The most bytes of a message up to its call id: an array header of 5, a type and an id of 9 each.
_HEAD_MAX: Final = 5 + 9 + 9
_DecodeCommon = Callable[[Any, int], tuple[int, int, Any] | None]
_bin_result: Final[Callable[[int, bytes], bytes]] = native.bin_result or fast_path.bin_result
_decode_common: Final[_DecodeCommon] = native.decode_common or fast_path.decode_common


class SenselessMessageError(Exception):
    """A well-formed message that makes no sense; it ends its own call with SERVER_ERROR."""

    def __init__(self, kind: int, call_id: int, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.call_id = call_id


class Start:
    """The body of CALL_START. In a small one of a bistream call, arrays are tuples: such arguments can be kept."""

    __slots__ = ("args", "call_type", "kwargs", "method")

    def __init__(self, call_type: int, method: str, args: list[Any] | tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.call_type = call_type
        self.method = method
        self.args = args
        self.kwargs = kwargs


class Hello(NamedTuple):
    """The unchecked body of both handshake messages; ``status`` is that of the reply."""

    version: Any
    connection_id: Any
    user_data: Any
    status: Any = SUCCESS


class Outcome:
    """The body of RESULT: :func:`unpack_result` reads ``packed``; ``error`` is ``(message, cause type, text)`` or None.

    The value is unpacked only for a call that exists: it may have many more elements than any other message.
    """

    __slots__ = ("error", "packed", "status")

    def __init__(self, packed: Bytes | None, status: int, error: tuple[str, str | None, str | None] | None) -> None:
        self.packed = packed
        self.status = status
        self.error = error


#: That of most calls.
_DONE: Final = Outcome(_NIL, SUCCESS, None)


# --- decoding -------------------------------------------------------------------------------------


def decode(payload: Bytes) -> tuple[int, int, Any]:
    """Decode one message: ``(kind, call id, body)``.

    The body is the value of a stream message (a bin as a bytes-like object that may share memory with
    ``payload``), the byte count of a credit message, :class:`Start`, :class:`Hello`, :class:`Outcome`, or None.

    :raises ProtocolError: code 1007, if this is no message.
    :raises SenselessMessageError: if the message makes no sense, but its call can be named.
    """
    found = _decode_common(payload, _SMALL_MAX)
    if found is not None:
        kind, call_id, value = found
        if kind == RESULT:
            return kind, call_id, _DONE if value == _NIL else Outcome(value, SUCCESS, None)
        if kind != CALL_START:
            return kind, call_id, value
        if value[1] == BISTREAM:
            try:
                call_type, method, args, kwargs = unpack(value, use_list=False)
                return CALL_START, call_id, _checked_start(call_type, method, args, kwargs)
            except UNPACK_FAULTS:
                pass  # the slow path finds the fault
    return _decode_whole(payload)


def _senseless(payload: Bytes, text: str) -> Exception:
    """Return the error of a message whose elements were not read; its type and its call id precede them."""
    try:
        kind, call_id = first_two(bytes(payload[:_HEAD_MAX]))
        _check_head(kind, call_id)
    except UNPACK_FAULTS as fault:
        return ProtocolError(f"not a msgpack message: {fault}", INVALID_PAYLOAD)
    except ProtocolError as error:
        return error
    return SenselessMessageError(kind, call_id, text)


def _check_head(kind: Any, call_id: Any) -> None:
    if type(kind) is not int or not HANDSHAKE <= kind <= CALLEE_CREDIT:
        raise ProtocolError(f"unknown message type {kind!r:.40}", INVALID_PAYLOAD)
    if type(call_id) is not int or call_id < 0:
        raise ProtocolError(f"call id {call_id!r:.40} is not an unsigned integer", INVALID_PAYLOAD)


def _decode_whole(payload: Bytes) -> tuple[int, int, Any]:
    try:
        message = unpack(payload)
    except TooManyElementsError as error:
        raise _senseless(payload, str(error)) from None
    except UNPACK_FAULTS as fault:
        raise ProtocolError(f"not a msgpack message: {type(fault).__name__}: {fault}", INVALID_PAYLOAD) from None
    if type(message) is not list or len(message) < 2:
        raise ProtocolError("a message is an array of at least two elements", INVALID_PAYLOAD)
    kind, call_id = message[0], message[1]
    _check_head(kind, call_id)
    try:
        return kind, call_id, _BODY[kind](message)
    except SenselessMessageError:
        raise
    except ValueError as senseless:
        raise SenselessMessageError(kind, call_id, str(senseless)) from None


def _length(message: list[Any], length: int) -> None:
    if len(message) != length:
        raise ValueError(f"a message of type {message[0]} has {length} elements, not {len(message)}")


def _read_nothing(message: list[Any]) -> None:
    _length(message, 2)


def _read_value(message: list[Any]) -> Any:
    _length(message, 3)
    if message[2] is None:
        raise ValueError("a stream message cannot be nil")
    return message[2]


def _read_credit(message: list[Any]) -> int:
    _length(message, 3)
    if type(message[2]) is not int or message[2] <= 0:
        raise ValueError("credit is a positive number of bytes")
    return message[2]


def _read_start(message: list[Any]) -> Start:
    _length(message, 6)
    return _checked_start(message[2], message[3], message[4], message[5])


def _checked_start(call_type: Any, method: Any, args: Any, kwargs: Any) -> Start:
    if type(call_type) is not int or call_type not in CALL_TYPES:
        raise ValueError(f"unknown call type {call_type!r:.40}")
    if type(method) is not str:
        raise ValueError("a method name is a string")
    if type(args) not in (list, tuple):
        raise ValueError("positional arguments are an array")
    if type(kwargs) is not dict:
        raise ValueError("keyword arguments are a map")
    for name in kwargs:
        if type(name) is not str:
            raise ValueError("the keys of keyword arguments are strings")
    return Start(call_type, method, args, kwargs)


def _read_hello(message: list[Any]) -> Hello:
    request = message[0] == HANDSHAKE
    _length(message, 3 if request else 5)
    data = message[2]
    if type(data) is not list or len(data) != 3:
        raise ValueError("handshake data is an array of version, connection id and user data")
    return Hello(data[0], data[1], data[2], SUCCESS if request else message[3])


def _read_outcome(message: list[Any]) -> Outcome:
    _length(message, 5)
    packed, status, error = message[2:]
    if type(status) is not int:
        raise ValueError("a status is an integer")
    if error is not None:
        if type(error) is not list or len(error) < 3 or not all(e is None or type(e) is str for e in error[:3]):
            raise ValueError("an error is an array of strings")
        return Outcome(None, status, (error[0] or "no message", error[1], error[2]))
    if status == SUCCESS:
        if type(packed) is not bytes:
            raise ValueError("a result is a bin")
        return Outcome(packed, status, None)
    return Outcome(None, status, ("no message", None, None))


def unpack_result(packed: Bytes | None) -> Any:
    """Return the value of a result, None for that of an error.

    ValueError if it cannot be read, or has more than RESULT_ELEMENTS_MAX elements.
    """
    if packed is None or packed == _NIL:
        return None
    try:
        return unpack(packed, RESULT_ELEMENTS_MAX)
    except UNPACK_FAULTS as fault:
        raise ValueError(f"the result's inner value cannot be read: {fault}") from None


_BODY: Final = {
    HANDSHAKE: _read_hello,
    CALL_START: _read_start,
    CALL_CANCEL: _read_nothing,
    REQUEST_MESSAGE: _read_value,
    REQUEST_CLOSE: _read_nothing,
    HANDSHAKE_REPLY: _read_hello,
    RESULT: _read_outcome,
    RESPONSE_MESSAGE: _read_value,
    RESPONSE_CLOSE: _read_nothing,
    CALLER_CREDIT: _read_credit,
    CALLEE_CREDIT: _read_credit,
}


# --- encoding -------------------------------------------------------------------------------------

#: An array of three that begins with the type.
_STREAM_START: Final = {kind: bytes((0x93, kind)) for kind in (REQUEST_MESSAGE, RESPONSE_MESSAGE)}
_EMPTY_START: Final = {kind: bytes((0x92, kind)) for kind in (CALL_CANCEL, REQUEST_CLOSE, RESPONSE_CLOSE)}


def cost(value: Any) -> int:
    """Return the credit that a message uses (docs/protocol.rst, "flow: credit for each stream")."""
    if isinstance(value, BYTES_TYPES):
        length = len(value)
    elif isinstance(value, str):
        length = len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    else:
        return MESSAGE_COST_MIN
    return length if length > MESSAGE_COST_MIN else MESSAGE_COST_MIN


def weight(value: Any) -> int:
    """Return about how many bytes a value takes in memory."""
    if isinstance(value, (*BYTES_TYPES, str)):
        return cost(value)
    return max(MESSAGE_COST_MIN, VALUE_WEIGHT * len(pack(value)))


def stream_prefix(kind: int, call_id: int) -> bytes:
    """Return the beginning of all stream messages of a call; the packed value follows."""
    return fast_path.join_with_id(_STREAM_START[kind], call_id, b"")


def call_start(call_id: int, call_type: int, method: str, args: Any, kwargs: Any) -> bytes:
    return pack([CALL_START, call_id, call_type, method, args, kwargs])


def empty(kind: int, call_id: int) -> bytes:
    """Return a message with a type and a call only: CALL_CANCEL, REQUEST_CLOSE, RESPONSE_CLOSE."""
    return fast_path.join_with_id(_EMPTY_START[kind], call_id, b"")


def credit(kind: int, call_id: int, amount: int) -> bytes:
    return pack([kind, call_id, amount])


def result(call_id: int, value: Any) -> bytes:
    """Return the RESULT of a call that succeeded; the value is packed twice (docs/protocol.rst, "Messages")."""
    if value is None:
        return fast_path.join_with_id(b"\x95\x07", call_id, b"\xc4\x01\xc0\x00\xc0")
    if type(value) is bytes:
        return _bin_result(call_id, value)
    return pack([RESULT, call_id, pack(value), SUCCESS, None])


def failure(
    call_id: int,
    status: int,
    message: str,
    cause_type: str | None = None,
    cause_message: str | None = None,
    trace: str | None = None,
) -> bytes:
    """Return the RESULT of a call that failed; long texts are cut, also those of another peer that are passed on.

    No peer of ours sends a trace, because routers of the field print it to end users.
    """
    texts = [text and text[:ERROR_TEXT_MAX] for text in (message, cause_type, cause_message)]
    return pack([RESULT, call_id, None, status, [*texts, trace]])


def hello(call_id: int, user_data: Any) -> bytes:
    return pack([HANDSHAKE, call_id, [VERSION, None, user_data]])


def hello_reply(call_id: int, connection_id: str, user_data: Any) -> bytes:
    return pack([HANDSHAKE_REPLY, call_id, [VERSION, connection_id, user_data], SUCCESS, None])
