"""The interface of a connection for its calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pagent.limits import MESSAGE_MAX, MESSAGE_MAX_FOREIGN
from pagent.net.link.link import Link
from pagent.rpc.receiver import StreamOwner
from pagent.rpc.stream import Stream
from pagent.runtime.tasks import TaskOwner
from pagent.wire import identity


class CallHost(ABC):
    """The interface of a connection for its calls and methods.

    A base class and no ``typing.Protocol``: compiled, a call on a protocol costs ten times that on a class.
    """

    def __init__(self, link: Link, tasks: TaskOwner) -> None:
        # For life.
        self.link = link
        self.tasks = tasks
        # From the handshake.
        self.uid = ""
        self.peer: identity.Peer | None = None
        self.realm: object = None
        self.principal: Any = None  # the services' view of the peer, kept here for its next call
        self.flow = False
        self.holes = False
        self.lines = False

    @property
    def message_max(self) -> int:
        """Bytes of the largest message that the peer takes."""
        return MESSAGE_MAX if self.flow else MESSAGE_MAX_FOREIGN

    @abstractmethod
    def new_stream(self, owner: StreamOwner, call_id: int, caller: bool) -> Stream:
        """Return a stream for a new call; ``caller``: whether the call is ours."""

    @abstractmethod
    def send_cancel(self, call_id: int) -> None:
        """Notify the peer that a call of ours is given up."""

    @abstractmethod
    def call_ended(self, call_id: int, call: object) -> None:
        """Forget a call of the peer, unless another one has its id by now."""

    @abstractmethod
    def own_call_ended(self, call_id: int) -> None:
        """Forget a call of ours."""
