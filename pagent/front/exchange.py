"""One request of a user and its answer, over one call of ``http_request`` to the agent that has the job.

::

    client's socket -> UserConnection -> Exchange -> stream -> agent
    agent -> stream -> Exchange: status, fields, body -> client's socket

An exchange is the receiver of the call's stream and writes to the client's connection itself. Back pressure crosses
over: a client that does not read holds the stream, and a stream without credit pauses the reading of the client.
:mod:`pagent.front.raw` has the exchange with agents of ours, :mod:`pagent.front.field` the one with those of the field.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from time import monotonic
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.errors import CallCancelledError, CallError, LinkClosedError, MethodError, RequestRefusedError
from pagent.front.answers import Fields, encode_head, read_lines
from pagent.front.exchange_user import ExchangeUser
from pagent.front.routes import JobTarget
from pagent.http1.incoming import IncomingHead
from pagent.http1.mounted import Mount
from pagent.http1.trailers import LAST_CHUNK, last_chunk
from pagent.rpc.calls import OutgoingCall
from pagent.rpc.directory import AgentLink
from pagent.rpc.stream import Stream
from pagent.runtime.metrics import STATISTICS
from pagent.system_errors import system_refusal

_BAD_GATEWAY: Final = 502
#: Answers without a body whatever their fields say (RFC 9112 6.3).
_BODILESS: Final = frozenset({204, 304})
#: Statuses of final answers (RFC 9110 15).
FINAL: Final = range(200, 600)
_CHUNK_END: Final = b"\r\n"
_SECONDS: Final = STATISTICS.routed
_RESPONSES: Final = STATISTICS.responses

#: As the length of a body whose end the connection's own end is.
_UNTIL_CLOSE: Final = -1
#: As the length of a body in chunks.
_IN_CHUNKS: Final = -2


class AnswerStage(enum.Enum):
    """How far the answer has come."""

    STATUS = enum.auto()
    FIELDS = enum.auto()
    BODY = enum.auto()
    ENDED = enum.auto()


# As in pagent.http1: every message asks.
STATUS: Final = AnswerStage.STATUS
FIELDS: Final = AnswerStage.FIELDS
BODY: Final = AnswerStage.BODY
ENDED: Final = AnswerStage.ENDED


class Exchange(ABC):
    """The base of both kinds: the life of the call, and the writing of the answer.

    ``head_sent``: the client has got a part of the final answer. ``progress`` grows with each piece of it.
    """

    __slots__ = (
        "_began",
        "_call",
        "_held",
        "_keep",
        "_left",
        "_mount",
        "_stage",
        "_status",
        "_stream",
        "_user",
        "head",
        "progress",
        "received",
        "sent",
    )

    def __init__(self, user: ExchangeUser, head: IncomingHead) -> None:
        # For life.
        self._user = user
        self.head = head
        self._call: OutgoingCall | None = None
        self._stream: Stream | None = None
        self._mount: Mount | None = None
        # The answer.
        self._stage = STATUS
        self._status = 0
        self._keep = head.keep_alive
        self._began = monotonic()
        self._left = 0
        self._held = b""
        self.progress = 0
        #: Bytes of the two bodies.
        self.received = self.sent = 0

    @property
    def status(self) -> int:
        """The status of the answer, 0 until there is one."""
        return self._status

    @property
    def head_sent(self) -> bool:
        return self._stage is BODY and not self._held

    def start(self, link: AgentLink, target: JobTarget) -> None:
        """Make the call. LinkClosedError, before any byte is sent, if the link is gone.

        RequestRefusedError if the agent cannot make it.
        """
        self._mount = target.mount
        call = self._call = self._make_call(link, target)
        stream = self._stream = call.stream
        assert stream is not None
        stream.attach(self, splits=True)
        if self._user.port.blocked:  # by the answer before
            stream.hold()

    @abstractmethod
    def _make_call(self, link: AgentLink, target: JobTarget) -> OutgoingCall:
        """Start the call, with the request's head as its arguments."""

    # --- from the client --------------------------------------------------------------------------

    def send_body(self, piece: Bytes) -> None:
        """Send a piece of the request's body."""
        self.received += len(piece)
        if self._stream is not None:
            self._stream.send(piece)

    def end_body(self, trailers: Fields) -> None:
        """End the request's body; an agent of the field takes no trailers."""
        if self._stream is not None:
            self._stream.send(b"")

    def abandon(self, reason: str) -> None:
        """Cancel the call at once: the client is gone, or has broken its request off."""
        self._stage = ENDED
        self._cancel(reason)

    def make_last(self) -> None:
        """Make the answer the last of its connection, if its head can still say so.

        Otherwise the client may have sent the next request already.
        """
        if self._stage is not BODY:
            self.head.keep_alive = self._keep = False

    def end_early(self, error: RequestRefusedError) -> None:
        """Answer with ``error`` if no byte of the answer has been sent; otherwise cut the answer off."""
        self._cancel(str(error))
        self._fail(error)

    def port_blocked(self) -> None:
        """Pause the stream: the client does not read."""
        if self._stream is not None:
            self._stream.hold()

    def port_writable(self) -> None:
        """Resume the stream: the client reads again."""
        if self._stream is not None:
            self._stream.release()

    # --- from the stream --------------------------------------------------------------------------

    @abstractmethod
    def stream_message(self, value: Any) -> None:
        """Handle a part of the answer."""

    def stream_closed(self) -> None:
        call = self._call
        if call is None:
            return
        if call.is_done:
            self._settle(call)
        else:
            call.result.add_done_callback(lambda _: self._settle(call))

    def stream_blocked(self) -> None:
        self._user.body_blocked()

    def stream_writable(self) -> None:
        self._user.body_writable()

    def stream_lost(self, reason: str) -> None:
        if self._call is None:
            return  # by our own cancel
        if self._call.is_done:
            self._settle(self._call)
        else:
            self._fail(CallCancelledError(reason))

    # --- the end of the call ----------------------------------------------------------------------

    def _settle(self, call: OutgoingCall) -> None:
        if self._stage is ENDED:
            return
        self._stream = None
        if call.error is None:
            self._take_result(call.value)
        else:
            self._fail(call.error)

    def _take_result(self, value: Any) -> None:
        """Take the result of a call that has succeeded; only agents with the extension ``lines`` send one."""
        self._end([])

    def _fail(self, error: BaseException) -> None:
        """Answer with the error of the call, or cut the answer off if a part of it has been sent.

        A connection that ends without a byte of the answer would have browsers repeat the request, also a POST.
        """
        has_begun, stage, self._stage = self.head_sent, self._stage, ENDED
        self._held = b""
        self._release()
        if has_begun:
            self._user.cut()
        elif stage is not ENDED:
            if stage is BODY:  # in this iteration: no response has that status
                _RESPONSES[self._status // 100] -= 1
            self._user.failed(refusal_of(error))

    def _break_off(self, reason: str) -> None:
        """Cancel the call: the agent's answer is not valid."""
        self._cancel(reason)
        self._fail(CallCancelledError(reason))

    def _cancel(self, reason: str) -> None:
        call, self._call, self._stream = self._call, None, None
        if call is not None:
            call.cancel(CallCancelledError(reason))  # of a call that has ended, the stream may keep messages
            call.stream = None

    def _release(self) -> None:
        """Forget the call, and have it forget its stream: cycles that the garbage collector would have to find."""
        call, self._call, self._stream = self._call, None, None
        if call is not None and call.is_done:
            call.stream = None

    # --- the answer -------------------------------------------------------------------------------

    def _begin(self, status: int, lines: bytes) -> None:
        """Take the head of the final answer. It is sent with the first of the body, or at the end of the iteration.

        ValueError if a line is not valid.
        """
        length, lines = read_lines(lines)
        request = self.head
        framing = b""
        if request.method == "HEAD" or status in _BODILESS:
            length = 0
        elif length is None:
            if request.minor == 1:
                length = _IN_CHUNKS
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                length = _UNTIL_CLOSE
                self._keep = False
        if not self._keep:
            framing += b"Connection: close\r\n"
        elif request.minor == 0:
            framing += b"Connection: keep-alive\r\n"
        self._held = encode_head(status, lines, request.answer_lines, framing)
        _SECONDS.observe(monotonic() - self._began)
        _RESPONSES[status // 100] += 1
        if length == _UNTIL_CLOSE:  # cut off, or at the end of a killed router, it must not look complete
            self._user.port.reset_unless_closed()
        self._left = length
        self._stage = BODY
        self.progress += 1

    def _piece(self, data: Bytes) -> None:
        """Write a piece of the body, with the head if that has not been sent."""
        size = len(data)
        if not size:
            return  # as a chunk, it would end the body (RFC 9112 7.1)
        if self._left >= 0 and size > self._left:
            self._break_off("the agent sent more than the answer's Content-Length")
            return
        self.progress += 1
        self.sent += size
        parts: list[Bytes] = []
        if self._held:
            parts.append(self._held)
            self._held = b""
        if self._left >= 0:
            self._left -= size
            parts.append(data)
        elif self._left == _IN_CHUNKS:
            parts += (b"%x\r\n" % size, data, _CHUNK_END)
        else:
            parts.append(data)
        if len(parts) == 1:
            self._user.port.write(data)
        else:
            self._user.port.writelines(parts)

    def _end(self, trailers: Fields) -> None:
        """Complete the answer; cut it off if it is too short."""
        if self._stage is not BODY:
            self._fail(CallCancelledError("the agent ended the call without an answer"))
            return
        if self._left > 0:
            self._fail(CallCancelledError("the answer is shorter than its Content-Length"))
            return
        if self._left == _IN_CHUNKS:
            try:
                self._held += last_chunk(trailers) if trailers else LAST_CHUNK
            except (ValueError, TypeError):
                self._break_off("the agent's trailers are not valid")
                return
        self._stage = ENDED
        self.flush()
        self._release()
        self._user.answered(self._keep and self._left != _UNTIL_CLOSE)

    def _flush_soon(self) -> None:
        """Write the head of the answer at the end of the iteration, if no piece of the body comes before."""
        if self._stage is BODY and self._held:
            self._user.iteration.call(self.flush)

    def flush(self) -> None:
        """Write the part of the answer that is held."""
        held, self._held = self._held, b""
        if held:
            self._user.port.write(held)


def refusal_of(error: BaseException) -> RequestRefusedError:
    """Return the answer to a request whose call has failed."""
    if isinstance(error, RequestRefusedError):
        return error
    if isinstance(error, MethodError):
        refusal = system_refusal(error, place="the agent")
        return refusal or RequestRefusedError(_BAD_GATEWAY, error.cause_message or str(error))
    if isinstance(error, LinkClosedError):
        return RequestRefusedError(_BAD_GATEWAY, "the link to the agent was lost")
    return RequestRefusedError(_BAD_GATEWAY, str(error) if isinstance(error, CallError) else "the call failed")
