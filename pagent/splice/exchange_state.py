"""The states of one HTTP exchange with a job, and the inputs that change them."""

from __future__ import annotations

import enum
from typing import Final


# Integers, because the hash of another Enum's members is a call of Python code, and each request needs eight.
class ExchangeState(enum.IntEnum):
    DECIDING = enum.auto()  # the first body message will show whether the request has a body
    CONNECTING = enum.auto()  # to the job, with a new connection
    KEPT = enum.auto()  # the request was sent on a kept connection, and no byte has come back
    NEW = enum.auto()  # the request was sent on a new connection, and no byte has come back
    ANSWERING = enum.auto()  # the job has begun its answer
    BODY = enum.auto()  # the head has been passed on to the caller
    DECODING = enum.auto()  # the response is complete, and the rest of its body is being decoded
    PARTING = enum.auto()  # the response is complete, and its client is expected to close its connection
    SWITCHED = enum.auto()  # a tunnel has the stream and the connection
    ENDED = enum.auto()


class ExchangeInput(enum.IntEnum):
    TAKE = enum.auto()  # a kept connection was taken
    CONNECT = enum.auto()  # a new connection is needed
    CONNECTED = enum.auto()
    DATA = enum.auto()  # bytes of the job
    HEAD = enum.auto()  # the final head, which the caller can be given
    SWITCH = enum.auto()  # a 101
    DECODE = enum.auto()  # the response is complete, and its body is decoded
    PART = enum.auto()  # the response is complete, and the result would spoil the client's connection
    END = enum.auto()  # the call has its result, or is gone


#: A job may answer as soon as it has accepted the connection, before the agent knows of it, and before the request.
EXCHANGE_TRANSITIONS: Final[dict[ExchangeState, dict[ExchangeInput, ExchangeState]]] = {
    ExchangeState.DECIDING: {
        ExchangeInput.TAKE: ExchangeState.KEPT,
        ExchangeInput.CONNECT: ExchangeState.CONNECTING,
        ExchangeInput.END: ExchangeState.ENDED,
    },
    ExchangeState.CONNECTING: {
        ExchangeInput.CONNECTED: ExchangeState.NEW,
        ExchangeInput.DATA: ExchangeState.ANSWERING,
        ExchangeInput.END: ExchangeState.ENDED,
    },
    ExchangeState.KEPT: {
        ExchangeInput.CONNECT: ExchangeState.CONNECTING,
        ExchangeInput.DATA: ExchangeState.ANSWERING,
        ExchangeInput.END: ExchangeState.ENDED,
    },
    ExchangeState.NEW: {ExchangeInput.DATA: ExchangeState.ANSWERING, ExchangeInput.END: ExchangeState.ENDED},
    ExchangeState.ANSWERING: {
        ExchangeInput.CONNECTED: ExchangeState.ANSWERING,
        ExchangeInput.DATA: ExchangeState.ANSWERING,
        ExchangeInput.HEAD: ExchangeState.BODY,
        ExchangeInput.SWITCH: ExchangeState.SWITCHED,
        ExchangeInput.END: ExchangeState.ENDED,
    },
    ExchangeState.BODY: {
        ExchangeInput.CONNECTED: ExchangeState.BODY,
        ExchangeInput.DATA: ExchangeState.BODY,
        ExchangeInput.DECODE: ExchangeState.DECODING,
        ExchangeInput.PART: ExchangeState.PARTING,
        ExchangeInput.END: ExchangeState.ENDED,
    },
    ExchangeState.DECODING: {
        ExchangeInput.CONNECTED: ExchangeState.DECODING,
        ExchangeInput.DATA: ExchangeState.DECODING,
        ExchangeInput.END: ExchangeState.ENDED,
    },
    ExchangeState.PARTING: {
        ExchangeInput.CONNECTED: ExchangeState.PARTING,
        ExchangeInput.DATA: ExchangeState.PARTING,
        ExchangeInput.END: ExchangeState.ENDED,
    },
    ExchangeState.SWITCHED: {ExchangeInput.END: ExchangeState.ENDED},
    ExchangeState.ENDED: {
        ExchangeInput.CONNECTED: ExchangeState.ENDED,
        ExchangeInput.DATA: ExchangeState.ENDED,
    },
}
