"""A TCP relay that cuts its connections after a number of bytes, in threads: commands run in their own loop."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.kit.peer import PATIENCE_S


class CuttingRelay:
    """Relays to a port of the loopback. ``cuts``: connections that it has cut, ``passed``: bytes in both directions."""

    def __init__(self, port: int, every: int, most: int) -> None:
        self.cuts = 0
        self.passed = 0
        self._port = port
        self._every = every
        self._most = most
        self._next = every
        self._lock = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def wait_for(self, passed: int) -> None:
        """Wait until this number of bytes has passed."""
        with self._lock:
            assert self._lock.wait_for(lambda: self.passed >= passed, PATIENCE_S)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._port))
                for ends in ((here, there), (there, here)):
                    thread = threading.Thread(target=self._copy, args=ends, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if self._is_cut(len(data)):
                    for end in (source, target):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _is_cut(self, size: int) -> bool:
        with self._lock:
            self.passed += size
            self._lock.notify_all()
            if self.passed < self._next or self.cuts >= self._most:
                return False
            self.cuts += 1
            self._next = self.passed + self._every
            return True


@contextmanager
def cutting_relay(port: int, *, every: int, most: int) -> Iterator[CuttingRelay]:
    """Yield a relay that cuts the connection that carries each ``every``-th byte, ``most`` times."""
    relay = CuttingRelay(port, every, most)
    try:
        yield relay
    finally:
        relay.close()
