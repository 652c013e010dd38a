"""The states of one HTTP exchange with a job, and the inputs that change them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


# Integers, because the hash of another Enum's members is a call of Python code, and each request needs eight.
class HttpState(enum.IntEnum):
    DECIDING = enum.auto()  # the first body message will show whether the request has a body
    CONNECTING = enum.auto()  # to the job, with a new connection
    KEPT = enum.auto()  # the request was sent on a kept connection, and no byte has come back
    NEW = enum.auto()  # the request was sent on a new connection, and no byte has come back
    ANSWERING = enum.auto()  # the job has begun its answer
    BODY = enum.auto()  # the head has been passed on to the caller
    DECODING = enum.auto()  # the response is complete, and the rest of its body is being decoded
    SWITCHED = enum.auto()  # a tunnel has the stream and the connection
    ENDED = enum.auto()


class HttpInput(enum.IntEnum):
    TAKE = enum.auto()  # a kept connection was taken
    CONNECT = enum.auto()  # a new connection is needed
    CONNECTED = enum.auto()
    DATA = enum.auto()  # bytes of the job
    HEAD = enum.auto()  # the final head, which the caller can be given
    SWITCH = enum.auto()  # a 101
    DECODE = enum.auto()  # the response is complete, and its body is decoded
    END = enum.auto()  # the call has its result, or is gone


#: A job may answer as soon as it has accepted the connection, before the agent knows of it, and before the request.
HTTP_TRANSITIONS: Final[Mapping[HttpState, Mapping[HttpInput, HttpState]]] = MappingProxyType(
    {
        HttpState.DECIDING: {
            HttpInput.TAKE: HttpState.KEPT,
            HttpInput.CONNECT: HttpState.CONNECTING,
            HttpInput.END: HttpState.ENDED,
        },
        HttpState.CONNECTING: {
            HttpInput.CONNECTED: HttpState.NEW,
            HttpInput.DATA: HttpState.ANSWERING,
            HttpInput.END: HttpState.ENDED,
        },
        HttpState.KEPT: {
            HttpInput.CONNECT: HttpState.CONNECTING,
            HttpInput.DATA: HttpState.ANSWERING,
            HttpInput.END: HttpState.ENDED,
        },
        HttpState.NEW: {HttpInput.DATA: HttpState.ANSWERING, HttpInput.END: HttpState.ENDED},
        HttpState.ANSWERING: {
            HttpInput.CONNECTED: HttpState.ANSWERING,
            HttpInput.DATA: HttpState.ANSWERING,
            HttpInput.HEAD: HttpState.BODY,
            HttpInput.SWITCH: HttpState.SWITCHED,
            HttpInput.END: HttpState.ENDED,
        },
        HttpState.BODY: {
            HttpInput.CONNECTED: HttpState.BODY,
            HttpInput.DATA: HttpState.BODY,
            HttpInput.DECODE: HttpState.DECODING,
            HttpInput.END: HttpState.ENDED,
        },
        HttpState.DECODING: {
            HttpInput.CONNECTED: HttpState.DECODING,
            HttpInput.DATA: HttpState.DECODING,
            HttpInput.END: HttpState.ENDED,
        },
        HttpState.SWITCHED: {HttpInput.END: HttpState.ENDED},
        HttpState.ENDED: {
            HttpInput.CONNECTED: HttpState.ENDED,
            HttpInput.DATA: HttpState.ENDED,
        },
    }
)
