"""The two ends of a call: one that a peer made to us, and one that we made."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from pagent.errors import (
    CallError,
    LinkClosedError,
    MethodError,
    MethodNotFoundError,
    PagentError,
    ServerError,
    text_for_peer,
)
from pagent.rpc.host import CallHost
from pagent.rpc.stream import Stream
from pagent.runtime.metrics import STATISTICS
from pagent.wire import messages

_log = logging.getLogger(__name__)

#: Errors that methods raise for their caller; any other is a fault of ours and is logged in full.
_EXPECTED: Final = (PagentError, ValueError, TypeError, LookupError, OSError, asyncio.IncompleteReadError)

_NO_ARGUMENTS: Final[dict[str, Any]] = {}


class IncomingCall:
    """A call of the peer. It ends by :meth:`finish`, :meth:`fail`, the peer's cancel, or the loss of the link.

    ``method``: its name, one object for all calls of the method. ``stream`` is None for a unary call. ``on_end`` is
    called once, when the call ends in any of these ways.
    """

    __slots__ = ("_args", "_began", "_kwargs", "_task", "call_id", "connection", "ended", "method", "on_end", "stream")

    def __init__(self, connection: CallHost, call_id: int, method: str, start: messages.Start) -> None:
        self.connection = connection
        self.call_id = call_id
        self.method = method
        self._args = start.args
        self._kwargs = start.kwargs
        self.stream = None if start.call_type == messages.UNARY else connection.new_stream(self, call_id, False)
        self._task: asyncio.Task[None] | None = None
        self._began = False
        self.ended = False
        self.on_end: Callable[[], None] | None = None

    def run(self, work: Coroutine[Any, Any, Any], *, returns: bool = False) -> None:
        """Run ``work`` in a task that the caller's cancel ends; an error that it raises ends the call.

        :param returns: whether its value is the call's result.
        """
        self._task = self.connection.tasks.start(self._guarded(work, returns), name=self.method)
        self._task.add_done_callback(lambda _: self._ran(work))

    def _ran(self, work: Coroutine[Any, Any, Any]) -> None:
        if not self._began:  # it was cancelled at once; a compiled coroutine that has ended cannot be closed
            work.close()
        task, self._task = self._task, None  # its coroutine would live as long as the call
        if task is not None and task.cancelled() and not self.ended:
            self.fail(asyncio.CancelledError("what the method waited for was cancelled"))  # not by the caller

    async def _guarded(self, work: Coroutine[Any, Any, Any], returns: bool) -> None:
        self._began = True
        began = time.monotonic()
        try:
            value = await work
            if returns:
                self.finish(value)
                STATISTICS.calls.observe(time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - the caller gets every error of a method
            self.fail(error)

    @property
    def arguments(self) -> tuple[Any, dict[str, Any]]:
        """The positional arguments and the keyword arguments; empty once they are dropped."""
        return self._args, self._kwargs

    def drop_arguments(self) -> None:
        """Free the arguments of a call that may last long. The texts of its errors then name no absolute path."""
        self._args = ()
        self._kwargs = _NO_ARGUMENTS

    def finish(self, value: Any = None) -> None:
        """Send the call's result, after the messages that its stream has queued."""
        try:
            message = messages.result(self.call_id, value)
        except (TypeError, OverflowError, ValueError) as error:
            _log.error("method %s has a result that cannot be sent", self.method, exc_info=error)
            self.fail_server("the method's result cannot be sent")
            return
        if len(message) > self.connection.message_max:
            self.fail_server(f"the method's result has {len(message)} bytes: too long for one message to this peer")
        else:
            self._end(message)

    def finish_with(self, payload: bytes) -> None:
        """Send the last bin of the stream and the result, together if the bin need not wait.

        For a caller that takes a bin as the result (docs/protocol.rst, "``lines``: heads as field lines").
        """
        if not self.ended and self.stream is not None:
            self._set_ended()
            self.stream.end_with(payload)

    def fail(self, error: BaseException) -> None:
        """End the call with ``error``: the caller gets its class name and its text, never its traceback."""
        self._end(self._failure(error))

    def relay_failure(self, error: Exception) -> None:
        """End the call as another call has ended that was made for it: with the same status, cause and text."""
        if isinstance(error, MethodError):
            message = messages.failure(
                self.call_id, messages.METHOD_ERROR, str(error), error.cause_type, error.cause_message
            )
        elif isinstance(error, MethodNotFoundError):
            message = messages.failure(self.call_id, messages.METHOD_NOT_FOUND, str(error))
        elif isinstance(error, ServerError):
            message = messages.failure(self.call_id, messages.SERVER_ERROR, str(error))
        else:
            message = self._failure(error)
        self._end(message)

    def abort(self, error: BaseException) -> None:
        """End the call as :meth:`fail` does, at once: stop the method, and drop its stream's queued messages."""
        self._break_off(self._text(error), self._failure(error))

    def _failure(self, error: BaseException) -> bytes:
        if not isinstance(error, _EXPECTED):
            about = {"link": self.connection.uid, "call": self.call_id}
            _log.error("method %s failed", self.method, exc_info=error, extra=about)
        text = self._text(error)
        message = f"call {self.call_id} ({self.method!r}) failed: {text}"
        return messages.failure(self.call_id, messages.METHOD_ERROR, message, type(error).__name__, text)

    def _text(self, error: BaseException) -> str:
        return text_for_peer(error, self._args, self._kwargs)

    def fail_server(self, text: str) -> None:
        """End the call with SERVER_ERROR, and drop the messages that its stream has queued.

        For a message of the peer that makes no sense, or data that cannot be kept.
        """
        self._break_off(text, messages.failure(self.call_id, messages.SERVER_ERROR, text))

    def _break_off(self, reason: str, message: bytes) -> None:
        if not self.ended:
            self._stop(reason)
            self.connection.link.send(message)

    def cancelled(self, reason: str) -> None:
        """Stop the method and send nothing: the peer has cancelled the call, or the link is lost."""
        self._stop(reason)

    def stream_overrun(self, reason: str) -> None:
        """End the call: the peer has sent more than the stream may keep."""
        self.fail_server(reason)

    def stream_failed(self, error: Exception) -> None:
        self.fail_server(_fault(self.method, error))

    def stream_flushed(self) -> None:
        if not self.ended:
            return  # our stream close; the call is still open, and its caller may cancel it
        self.connection.call_ended(self.call_id, self)
        self.stream = None  # it refers to the call: a cycle, which the garbage collector would have to find

    def _end(self, message: bytes) -> None:
        if self.ended:
            return
        self._set_ended()
        if self.stream is not None:
            self.stream.end(message)
        else:
            self.connection.link.send(message)
            self.connection.call_ended(self.call_id, self)

    def _set_ended(self) -> None:
        self.ended = True
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()

    def _stop(self, reason: str) -> None:
        self._set_ended()
        self.connection.call_ended(self.call_id, self)
        if self._task is not None:
            self._task.cancel()
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.lost(reason)


class OutgoingCall:
    """A call that we made. It ends with a value, or with a :class:`~pagent.errors.CallError`."""

    __slots__ = ("_future", "_value", "call_id", "connection", "error", "is_done", "method", "stream")

    def __init__(self, connection: CallHost, call_id: int, method: str, call_type: int) -> None:
        self.connection = connection
        self.call_id = call_id
        self.method = method
        self.stream: Stream | None = None
        # The outcome.
        self.is_done = False
        self.error: Exception | None = None
        self._value: Any = None
        self._future: asyncio.Future[Any] | None = None  # once it is asked for: exchanges of a router need none
        if call_type != messages.UNARY:
            self.stream = connection.new_stream(self, call_id, True)

    @property
    def value(self) -> Any:
        """The unpacked value, None without one."""
        return self._value

    @property
    def result(self) -> asyncio.Future[Any]:
        """The unpacked value, or the error, as a future."""
        future = self._future
        if future is None:
            future = self._future = asyncio.get_running_loop().create_future()
            if self.is_done:
                self._resolve(future)
        return future

    def outcome_arrived(self, outcome: messages.Outcome, value: Any) -> None:
        """Take the result, unpacked. It ends the stream as well (docs/protocol.rst, "Calls and streams")."""
        if outcome.error is None:
            self._settle(value, None)
        elif outcome.status == messages.METHOD_NOT_FOUND:
            self._settle(None, MethodNotFoundError(outcome.error[0]))
        elif outcome.status == messages.METHOD_ERROR:
            self._settle(None, MethodError(*outcome.error))
        else:
            self._settle(None, ServerError(outcome.error[0]))
        if self.stream is not None:
            self.stream.peer_ended()

    def cancel(self, error: CallError) -> None:
        """Give the call up: the callee has to stop, and no result will come.

        If it has ended already, messages that its stream still keeps are dropped.
        """
        if not self.is_done:
            self.connection.send_cancel(self.call_id)
        self.ended(error)

    def ended(self, error: CallError | LinkClosedError) -> None:
        """End the call with ``error``."""
        self._settle(None, error)
        if self.stream is not None:
            self.stream.lost(str(error))

    def stream_overrun(self, reason: str) -> None:
        self.cancel(ServerError(reason))

    def stream_failed(self, error: Exception) -> None:
        self.cancel(ServerError(_fault(self.method, error)))

    def stream_flushed(self) -> None:
        """Do nothing: our stream close is sent, and the result has not come yet."""

    def _settle(self, value: Any, error: Exception | None) -> None:
        self.connection.own_call_ended(self.call_id)
        if self.is_done:
            return
        self.is_done = True
        self._value, self.error = value, error
        # A future that has been cancelled is done, too.
        if self._future is not None and not self._future.done():
            self._resolve(self._future)

    def _resolve(self, future: asyncio.Future[Any]) -> None:
        if self.error is None:
            future.set_result(self._value)
        else:
            future.set_exception(self.error)
            future.exception()  # retrieved, so that asyncio does not log it: its caller may be gone


def _fault(method: str, error: Exception) -> str:
    """Return the text of a receiver's error for the peer, and log the error unless it is the peer's fault."""
    if not isinstance(error, (CallError, ValueError)):
        _log.error("the receiver of %s failed", method, exc_info=error)
    return f"{type(error).__name__}: {text_for_peer(error)}"
