"""The table of the methods that a peer may call, made of an object's decorated methods.

A method takes the :class:`~pagent.rpc.calls.IncomingCall` first, then the arguments of the caller. A plain function
runs at once, inside the callback that received the call: the result of a unary one is the call's result; one of a
stream type hands the call's stream to a splice, and the call ends when that says so. The coroutine of an ``async``
function, or one that a plain function returns, runs as a task.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from pagent.wire import messages

F = TypeVar("F", bound=Callable[..., Any])

#: Call types of the decorated functions; one that is compiled has no attributes to keep it in.
_CALL_TYPES: Final[dict[object, int]] = {}


class Method(NamedTuple):
    name: str
    call_type: int
    function: Callable[..., Any]


def _marker(call_type: int) -> Callable[[F], F]:
    def mark(function: F) -> F:
        _CALL_TYPES[function] = call_type
        return function

    return mark


#: Decorators, one for each call type (docs/protocol.rst, "Messages"): the sides that may send on the call's stream.
unary = _marker(messages.UNARY)
istream = _marker(messages.ISTREAM)
ostream = _marker(messages.OSTREAM)
bistream = _marker(messages.BISTREAM)


def methods_of(*services: object) -> dict[str, Method]:
    """Return the table of the decorated methods of some objects; ValueError if two have the same name."""
    table: dict[str, Method] = {}
    for service in services:
        for name, function in inspect.getmembers(type(service), inspect.isroutine):
            call_type = _CALL_TYPES.get(function)
            if call_type is None:
                continue
            if name in table:
                raise ValueError(f"two methods are called {name}")
            table[name] = Method(name, call_type, getattr(service, name))
    return table
