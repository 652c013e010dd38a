"""The handshake and the calls of one link, in both directions (docs/protocol.rst, "Handshake", "Calls and streams")."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable, Mapping
from types import CoroutineType, MappingProxyType
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.errors import CallCancelledError, CallTimeoutError, LinkClosedError, ProtocolError, ServerError
from pagent.limits import CALLS_PER_LINK, DEFAULT_CALL_TIMEOUT_S, HANDSHAKE_TIMEOUT_S
from pagent.net.link.link import Link
from pagent.rpc.aio import StreamCall
from pagent.rpc.calls import IncomingCall, OutgoingCall
from pagent.rpc.handshake import Handshake
from pagent.rpc.host import CallHost
from pagent.rpc.methods import Method
from pagent.rpc.receiver import StreamOwner
from pagent.rpc.scheduler import Scheduler
from pagent.rpc.stream import Stream
from pagent.rpc.throttle import ReadThrottle
from pagent.runtime.metrics import LINKS_MADE, STATISTICS
from pagent.runtime.silence import SilenceLimit, SilenceTimer
from pagent.runtime.tasks import TaskOwner, retrieve_error
from pagent.wire import identity, messages

_log = logging.getLogger(__name__)

_FROM_CALLER = frozenset((messages.REQUEST_MESSAGE, messages.REQUEST_CLOSE, messages.CALLER_CREDIT))
_HANDSHAKES = frozenset((messages.HANDSHAKE, messages.HANDSHAKE_REPLY))


class ConnectionState(enum.Enum):
    GREETING = enum.auto()  # until the handshake is done
    READY = enum.auto()
    CLOSED = enum.auto()


#: Any other input is a fault of this package, and a KeyError.
_TRANSITIONS: Final[Mapping[ConnectionState, Mapping[str, ConnectionState]]] = MappingProxyType(
    {
        ConnectionState.GREETING: {"greeted": ConnectionState.READY, "lost": ConnectionState.CLOSED},
        ConnectionState.READY: {"lost": ConnectionState.CLOSED},
        ConnectionState.CLOSED: {"lost": ConnectionState.CLOSED},
    }
)

#: Why a side that ends refuses a call: its caller may make it on another link.
GOES_AWAY: Final = "the peer goes away: the call has not begun"

#: Characters of an unknown method's name that are repeated to its caller.
_NAME_REPEATED: Final = 200

# Access to a member of an Enum costs three times as much as to a constant, and every message needs these.
_READY: Final = ConnectionState.READY


class Connection(CallHost):
    """One link and its calls.

    :param dialled: whether this side has dialled. The dialling side speaks first.
    :param methods: the methods that the peer may call (:func:`pagent.rpc.methods.methods_of`).
    :param calls_max: calls of the peer at a time.

    The other parameters are those of :class:`~pagent.rpc.handshake.Handshake`. ``ready`` is done when the handshake is;
    the functions in ``on_lost`` are called when the link is lost.
    """

    def __init__(
        self,
        *,
        dialled: bool,
        user_data: Mapping[str, Any],
        methods: Mapping[str, Method],
        authorise: Callable[[identity.Peer], object] = lambda peer: None,
        welcome: Callable[[identity.Peer], Mapping[str, Any]] = lambda peer: {},
        extensions: tuple[str, ...] = identity.EXTENSIONS,
        instance: str | None = None,
        replaces: str | None = None,
        debug: bool = False,
        calls_max: int = CALLS_PER_LINK,
    ) -> None:
        # For life.
        super().__init__(Link(self, dialled=dialled), TaskOwner("connection"))
        self._handshake = Handshake(
            dialled=dialled,
            user_data=user_data,
            extensions=extensions,
            instance=instance,
            replaces=replaces,
            authorise=authorise,
            welcome=welcome,
        )
        self._methods = methods
        self._debug = debug
        self._calls_max = calls_max
        # From the handshake.
        self._state = ConnectionState.GREETING
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(retrieve_error)
        self._greeting_timer: SilenceTimer | None = None
        # Calls.
        self.incoming: dict[int, IncomingCall] = {}
        self.outgoing: dict[int, OutgoingCall] = {}
        self._last_id = 0
        self._refuses_calls = False
        self.scheduler = Scheduler()
        self.throttle = ReadThrottle(self.link)
        self.on_lost: list[Callable[[LinkClosedError], None]] = []

    # --- life -------------------------------------------------------------------------------------

    def _apply(self, happening: str) -> None:
        """Set the state; nothing else does."""
        self._state = _TRANSITIONS[self._state][happening]

    def start(self) -> None:
        """Begin the handshake on a connected transport."""
        self._greeting_timer = SilenceTimer(HANDSHAKE_TIMEOUT_S, self._refuse, "no handshake in time")
        if self.link.dialled:
            self.link.send(messages.hello(self._next_id(), self._handshake.hello()))

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._state is _READY and self.link.is_open

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End all calls, close the link with the closing handshake, and wait for the tasks of the calls."""
        self.link.close(code, reason)
        await asyncio.shield(self.link.closed)
        await self.tasks.close()

    def refuse_calls(self) -> None:
        """Let the peer begin no more calls, because this side is about to close the link."""
        self._refuses_calls = True

    # --- making calls -----------------------------------------------------------------------------

    async def call(
        self, method: str, /, *args: Any, timeout: float | None = DEFAULT_CALL_TIMEOUT_S, **kwargs: Any
    ) -> Any:
        """Make a unary call and return its result. Pass an argument with the name ``timeout`` by position.

        :raises CallError: a subclass says how it failed; LinkClosedError: the link is gone.
            CallTimeoutError after ``timeout`` seconds (None: never); the call is then cancelled.
        """
        call = self.start_call(messages.UNARY, method, args, kwargs)
        try:
            async with SilenceLimit(timeout):
                # Shielded: a call whose result is cancelled would count as ended, while the callee runs.
                return await asyncio.shield(call.result)
        except TimeoutError:
            call.cancel(CallTimeoutError(f"no result of {method} within {timeout} s"))
            raise CallTimeoutError(f"no result of {method} within {timeout} s") from None
        except asyncio.CancelledError:
            call.cancel(CallCancelledError(f"{method} was given up"))
            raise

    def open_stream(self, call_type: int, method: str, /, *args: Any, **kwargs: Any) -> StreamCall:
        """Begin a call with a stream, and return its async face, which is an async context manager."""
        return StreamCall(self.start_call(call_type, method, args, kwargs))

    def start_call(self, call_type: int, method: str, args: Any, kwargs: Any) -> OutgoingCall:
        """Begin a call of any type, and return its push face. LinkClosedError if the link is not open."""
        if not self.is_open:
            raise LinkClosedError(1006, "the link is not open")
        call = OutgoingCall(self, self._next_id(), method, call_type)
        start = messages.call_start(call.call_id, call_type, method, list(args), kwargs)
        self.outgoing[call.call_id] = call
        self.link.send(start)
        return call

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # --- for calls --------------------------------------------------------------------------------

    def new_stream(self, owner: StreamOwner, call_id: int, caller: bool) -> Stream:
        return Stream(self.link, self.scheduler, self.throttle, owner, call_id, caller=caller, flow=self.flow)

    def send_cancel(self, call_id: int) -> None:
        self.link.send(messages.empty(messages.CALL_CANCEL, call_id))

    def call_ended(self, call_id: int, call: object) -> None:
        if self.incoming.get(call_id) is call:
            del self.incoming[call_id]

    def own_call_ended(self, call_id: int) -> None:
        self.outgoing.pop(call_id, None)

    # --- for the link -----------------------------------------------------------------------------

    def link_message(self, payload: Bytes) -> None:
        try:
            kind, call_id, body = messages.decode(payload)
        except messages.SenselessMessageError as error:
            self._senseless(error)
            return
        if self._debug:
            peer, name = self.uid or self.link.peer_address, messages.NAMES[kind]
            _log.debug("%s: received a %s of call %d, %d bytes", peer, name, call_id, len(payload))
        if self._state is not _READY:
            self._greeted(kind, call_id, body)
        elif kind == messages.REQUEST_MESSAGE:
            self._stream_message(self.incoming.get(call_id), body)
        elif kind == messages.RESPONSE_MESSAGE:
            self._stream_message(self.outgoing.get(call_id), body)
        elif kind == messages.CALL_START:
            self._call_started(call_id, body)
        elif kind == messages.RESULT:
            if (own := self.outgoing.get(call_id)) is not None:
                self._result(own, body)
        elif kind == messages.CALL_CANCEL:
            if (theirs := self.incoming.get(call_id)) is not None:
                theirs.cancelled("the caller cancelled the call")
        elif kind in _HANDSHAKES:
            _log.info("%s: dropped a %s on an open link", self.uid, messages.NAMES[kind])
        else:
            self._stream_control(kind, call_id, body)

    def link_blocked(self) -> None:
        """Do nothing: streams ask the link before they send."""

    def link_writable(self) -> None:
        while not self.link.blocked and self.scheduler.send_next(bulk=not self.link.pacer.held):
            pass

    def link_lost(self, error: LinkClosedError) -> None:
        if self._state is ConnectionState.CLOSED:
            return
        self._apply("lost")
        if self._greeting_timer is not None:
            self._greeting_timer.cancel()
        if not self.ready.done():
            self.ready.set_exception(error)
        for call in list(self.incoming.values()):
            call.cancelled("the link was lost")
        for own in list(self.outgoing.values()):
            own.ended(error)
        for callback in self.on_lost:
            callback(error)

    # --- handshake --------------------------------------------------------------------------------

    def _refuse(self, text: str) -> None:
        if self._state is ConnectionState.GREETING:
            _log.warning("%s: %s", self.link.peer_address, text)
            self.link.fail(ProtocolError(text))

    def _greeted(self, kind: int, call_id: int, body: Any) -> None:
        """Take the first message, the only one that is valid before the handshake is done."""
        greeted = self._handshake.check(kind, body)
        self.uid, self.peer, self.realm = greeted.uid, greeted.peer, greeted.realm
        self.flow = identity.FLOW in greeted.extensions
        self.holes = identity.HOLES in greeted.extensions
        self.lines = identity.LINES in greeted.extensions
        if greeted.reply is not None:
            self.link.send(messages.hello_reply(call_id, self.uid, greeted.reply))
        assert self._greeting_timer is not None
        self._greeting_timer.cancel()
        self.link.accept_peer()
        if self.flow:
            self.link.ping()  # windows grow by its round trip; other peers get their first ping after the interval
        self._apply("greeted")
        STATISTICS.count(LINKS_MADE)
        self.ready.set_result(None)

    # --- messages of the peer ---------------------------------------------------------------------

    def _result(self, call: OutgoingCall, outcome: messages.Outcome) -> None:
        try:
            call.outcome_arrived(outcome, messages.unpack_result(outcome.packed))
        except ValueError as error:
            self._senseless(messages.SenselessMessageError(messages.RESULT, call.call_id, str(error)))

    def _stream_message(self, call: IncomingCall | OutgoingCall | None, value: Any) -> None:
        if call is None:
            return  # of a call that has ended: dropped (docs/protocol.rst, "Messages that make no sense")
        if call.stream is None:
            self._end_own(call, "stream data for a unary call")
            return
        call.stream.receiving.message_arrived(value)

    def _stream_control(self, kind: int, call_id: int, body: Any) -> None:
        table: Mapping[int, IncomingCall | OutgoingCall] = self.incoming if kind in _FROM_CALLER else self.outgoing
        call = table.get(call_id)
        if call is None:
            return
        if call.stream is None:
            self._end_own(call, "a stream message for a unary call")
        elif kind in (messages.REQUEST_CLOSE, messages.RESPONSE_CLOSE):
            call.stream.receiving.close_arrived()
        elif not self.flow:
            self._end_own(call, "credit without the extension")
        else:
            call.stream.sending.credit_arrived(body)
            self.link_writable()

    def _call_started(self, call_id: int, start: messages.Start) -> None:
        method = self._method_for(call_id, start)
        if method is None:
            return
        call = IncomingCall(self, call_id, method.name, start)
        self.incoming[call_id] = call
        try:
            outcome = method.function(call, *start.args, **start.kwargs)
        except Exception as error:  # noqa: BLE001 - the caller gets every error of a method
            call.fail(error)
            return
        if outcome is not None and isinstance(outcome, CoroutineType):
            call.run(outcome, returns=True)
        elif call.stream is None:
            call.finish(outcome)

    def _method_for(self, call_id: int, start: messages.Start) -> Method | None:
        """Return the method of a call; refuse the call and return None if it cannot be made."""
        running = self.incoming.get(call_id)
        if running is not None:
            running.fail_server(f"call id {call_id} is in use already")
            return None
        if self._refuses_calls:
            self._refuse_call(call_id, messages.SERVER_ERROR, GOES_AWAY)
            return None
        if len(self.incoming) >= self._calls_max:
            self._refuse_call(call_id, messages.SERVER_ERROR, f"more than {self._calls_max} calls at once")
            return None
        method = self._methods.get(start.method)
        if method is None:
            name = repr(start.method[:_NAME_REPEATED])
            self._refuse_call(call_id, messages.METHOD_NOT_FOUND, f"method {name} is not found", "KeyError", name)
        elif method.call_type != start.call_type:
            expected, given = messages.CALL_TYPES[method.call_type], messages.CALL_TYPES[start.call_type]
            self._refuse_call(call_id, messages.SERVER_ERROR, f"method {start.method!r} is {expected}, not {given}")
            return None
        return method

    def _refuse_call(self, call_id: int, status: int, text: str, *cause: str) -> None:
        self.link.send(messages.failure(call_id, status, text, *cause))

    def _senseless(self, error: messages.SenselessMessageError) -> None:
        """End the call that a senseless message belongs to."""
        if self._state is not _READY:
            raise ProtocolError(f"handshake refused: {error}") from None
        _log.info("%s: call %d: %s", self.uid, error.call_id, error, extra={"link": self.uid, "call": error.call_id})
        if error.kind in _HANDSHAKES:
            return  # it belongs to no call
        theirs = error.kind in _FROM_CALLER or error.kind in (messages.CALL_START, messages.CALL_CANCEL)
        if not theirs:
            if (own := self.outgoing.get(error.call_id)) is not None:
                self._end_own(own, str(error))
        elif (running := self.incoming.get(error.call_id)) is not None:
            running.fail_server(str(error))
        elif error.kind == messages.CALL_START:
            self._refuse_call(error.call_id, messages.SERVER_ERROR, str(error))

    @staticmethod
    def _end_own(call: IncomingCall | OutgoingCall, text: str) -> None:
        if isinstance(call, IncomingCall):
            call.fail_server(text)
        else:
            call.cancel(ServerError(text))
