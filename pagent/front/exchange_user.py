"""What an exchange calls on the connection of its client: the end of an answer, a tunnel, and back pressure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from pagent.errors import RequestRefusedError
from pagent.net.port.connection import PortConnection
from pagent.net.port.user import PortUser
from pagent.runtime.iteration import IterationEnd


class Tunnel(PortUser, Protocol):
    """The user of a connection after a 101."""

    def start(self, port: PortConnection) -> None:
        """Begin, with a connection whose user this already is."""


class ExchangeUser(ABC):
    """The connection of a client whose request an exchange answers."""

    port: PortConnection
    iteration: IterationEnd

    @abstractmethod
    def answered(self, keep: bool) -> None:
        """Handle the end of an answer. ``keep``: its head has not announced the connection's end."""

    @abstractmethod
    def failed(self, error: RequestRefusedError) -> None:
        """Answer with an error: no byte of an answer has been sent."""

    @abstractmethod
    def cut(self) -> None:
        """Break the connection: the answer is incomplete."""

    @abstractmethod
    def switched(self, tunnel: Tunnel) -> None:
        """Switch protocols: ``tunnel`` carries the bytes after the 101."""

    @abstractmethod
    def tunnel_ended(self) -> None:
        """Release the request of a tunnel whose connection is closed."""

    @abstractmethod
    def body_blocked(self) -> None:
        """Pause the request's body: the agent has given no more credit."""

    @abstractmethod
    def body_writable(self) -> None:
        """Resume the request's body: the agent has given credit."""
