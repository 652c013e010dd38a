"""One link to an agent, as the router sees it."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Container, Hashable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, NamedTuple

from pagent.errors import CallCancelledError, ServerError
from pagent.relay.host import HostReport
from pagent.rpc.aio import StreamCall
from pagent.rpc.calls import OutgoingCall
from pagent.rpc.connection import Connection
from pagent.rpc.spool import SpoolOpener
from pagent.wire import messages
from pagent.wire.plain import plain

#: The form of a connection id in the paths of the HTTP API.
is_connection_id: Final = re.compile(r"[0-9a-f]{32}").fullmatch

#: A key of the handshake that is of the link, not of the agent.
_OF_THE_LINK: Final = "extensions"

_numbers = count(1)


#: Bytes of a call start beside its method and its arguments.
_START_OVERHEAD: Final = 64


class AgentKey(NamedTuple):
    """An agent, and the direction of its links: jobs of one key can be used on each link with this key.

    ``dialled`` is None for links that agents make. An agent that the router has dialled separates the jobs of each
    token.
    """

    uid: str
    dialled: Hashable | None


class ConnectedAgent:
    """An agent's link that is open. It makes calls of all types.

    ``connection_id`` is a part of paths. ``uid`` is the agent's own, which its other links share.

    :param dialled: where and with which token the router has dialled; None for a link that the agent has made.
    :param taken: the connection ids that are in use. An agent that was dialled chooses its own.
    :param linger: seconds that jobs of an agent of ours outlive its last link.
    :param spool: keeps data that an agent without flow control sends faster than its receiver takes it.
    :param cordoned: called with this link when its agent is cordoned, or takes new jobs again.
    """

    def __init__(
        self,
        connection: Connection,
        dialled: Hashable | None,
        *,
        taken: Container[str],
        spool: SpoolOpener,
        linger: float,
        cordoned: Callable[[ConnectedAgent], None],
    ) -> None:
        peer = connection.peer
        assert peer is not None
        # For life.
        self.connection = connection
        self._spool = spool
        self._cordoned = cordoned
        usable = is_connection_id(connection.uid) and connection.uid not in taken
        self.connection_id = connection.uid if usable else uuid.uuid4().hex
        self.uid = peer.uid if isinstance(peer.uid, str) else peer.uid.hex()
        self.key = AgentKey(self.uid, dialled)
        #: The links of a router are numbered in the order of their coming.
        self.number = next(_numbers)
        self.name = peer.name
        self.instance = peer.instance
        self.replaces = peer.replaces
        self.dialled = dialled is not None
        #: Whether it has the methods and arguments beyond the contract of the field, flow control among them.
        self.is_ours = connection.flow
        #: Seconds that its jobs outlive its last link to the router; those of the field's agents end with their link.
        self.linger = linger if self.is_ours else 0.0
        #: Its handshake data as JSON can say it, without secrets.
        self.data: dict[str, Any] = plain({key: value for key, value in peer.data.items() if key != _OF_THE_LINK})
        #: When it was admitted, in seconds since the epoch.
        self.connected_at = time.time()
        # While it is open.
        self.retiring = False  # a newer link of the same process has taken over
        self.creating: set[str] = set()  # jobs that are being created
        self.created = 0  # job_create calls that were made
        self.counted = 0  # jobs of this link by the agent's own count, when it was last asked
        self.host = HostReport()  # as they were last sent
        self.others = 0  # jobs at the agent that are not of this router's realm, when its figures came
        self.watching: OutgoingCall | None = None  # the call that notifies the router of jobs
        self.measuring: OutgoingCall | None = None  # the call that sends figures of its jobs
        self.is_watched = False  # the router knows all its jobs, and each change
        # When it is lost.
        self.has_ended = False  # the agent has closed it because it ends, and its jobs with it

    @property
    def mode(self) -> str:
        """The role of the router on this link."""
        return "CLIENT" if self.dialled else "SERVER"

    def take_report(self, report: HostReport) -> None:
        """Take over the figures of its host."""
        before, self.host = self.host, report
        if report.cordoned is not before.cordoned and self.is_open:
            self._cordoned(self)

    def figures(self) -> dict[str, Any]:
        """Return the figures of its host as they were last sent."""
        return self.host._asdict()

    @property
    def is_open(self) -> bool:
        return self.connection.is_open

    @property
    def holes(self) -> bool:
        """Whether the extension ``holes`` is in force."""
        return self.connection.holes

    @property
    def has_calls(self) -> bool:
        """Whether a call is under way, beside those of the watch and of the figures."""
        return bool(self._calls)

    @property
    def _calls(self) -> list[OutgoingCall]:
        own = self.watching, self.measuring
        return [call for call in self.connection.outgoing.values() if call not in own]

    def describe(self) -> dict[str, Any]:
        """Return the description of this agent in answers about its jobs."""
        return {key: self.data.get(key) or {} for key in ("platform", "properties")}

    @contextmanager
    def creation(self, job_uid: str) -> Iterator[None]:
        """Count a job that is created within the block."""
        self.creating.add(job_uid)
        self.created += 1
        try:
            yield
        finally:
            self.creating.discard(job_uid)

    # --- calls ------------------------------------------------------------------------------------

    async def call(self, method: str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Make a unary call, without a time limit unless one is given: :meth:`Connection.call`."""
        return await self.connection.call(method, *args, timeout=timeout, **kwargs)

    async def result_of(self, method: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Make a unary call with any arguments, without a time limit; return its result."""
        call = self.start_call(messages.UNARY, method, args, kwargs)
        try:
            return await asyncio.shield(call.result)
        except asyncio.CancelledError:
            call.cancel(CallCancelledError(f"{method} was given up"))
            raise

    def start_call(self, call_type: int, method: str, args: Any, kwargs: Any) -> OutgoingCall:
        """Begin a call of any type: :meth:`Connection.start_call`."""
        if not self.is_ours:
            _check_size(self.connection.message_max, method, args, kwargs)
        call = self.connection.start_call(call_type, method, args, kwargs)
        if call.stream is not None and not self.is_ours:
            call.stream.spool_with(self._spool)
        return call

    def open_stream(self, call_type: int, method: str, /, *args: Any, **kwargs: Any) -> StreamCall:
        """Begin a call with a stream: :meth:`Connection.open_stream`."""
        return StreamCall(self.start_call(call_type, method, args, kwargs))

    async def calls_ended(self) -> None:
        """Wait until no call is under way, beside that of the watch."""
        while pending := [call.result for call in self._calls]:
            await asyncio.wait(pending)
            await asyncio.sleep(0)  # the calls leave the table in callbacks of their results


def _check_size(most: int, *parts: Any) -> None:
    """Raise ServerError for a call whose start is too long for an agent of the field, which would end its link."""
    if len(messages.pack(parts)) > most - _START_OVERHEAD:
        raise ServerError(f"the arguments are longer than the {most} bytes that the agent takes")
