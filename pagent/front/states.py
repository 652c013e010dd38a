"""The states of a user's connection, and the states that may follow each of them."""

from __future__ import annotations

import enum
from typing import Final


# Integers, because the hash of another Enum's members is a call of Python code, and each request needs four.
class ClientState(enum.IntEnum):
    """The states of a connection; its inputs are those of :class:`~pagent.front.user.UserConnection`."""

    HEAD = enum.auto()  # the connection waits for a request, or for the rest of its head
    WAITING = enum.auto()  # the request waits for its job or a link; bytes received are kept
    BODY = enum.auto()  # the request's body is on its way to the agent
    ANSWERING = enum.auto()  # the request is complete, its answer is not; bytes received are kept
    DRAINING = enum.auto()  # the answer is complete, the request's body is not
    ENDING = enum.auto()  # the last answer is sent; bytes received are discarded
    GONE = enum.auto()  # closed, or handed over


#: The states that may follow each state. Plain sets of a plain dict, which compiled code looks up fastest.
NEXT: Final = {
    ClientState.HEAD: set(ClientState),
    ClientState.WAITING: set(ClientState) - {ClientState.WAITING},
    ClientState.BODY: {ClientState.ANSWERING, ClientState.DRAINING, ClientState.ENDING, ClientState.GONE},
    ClientState.ANSWERING: {ClientState.HEAD, ClientState.ENDING, ClientState.GONE},
    ClientState.DRAINING: {ClientState.HEAD, ClientState.ENDING, ClientState.GONE},
    ClientState.ENDING: {ClientState.GONE},
    ClientState.GONE: {ClientState.GONE},
}
