"""Choose free ports for jobs. No port is given to two jobs."""

from __future__ import annotations

import errno
import socket
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import ExitStack
from typing import Final, Literal

from pagent.jobs.placeholders import MAIN
from pagent.jobs.ports import LOOPBACK

#: Ports that the system picks until one is accepted.
_TRIES: Final = 64


class GivenPorts:
    """The ports that jobs of one agent have, and the choice of them.

    A port that is given to a job is free until the job listens on it, and nothing can keep it: a bound socket would be
    in the job's way. So agents, of any user, keep a name for it in the abstract namespace of Unix sockets (unix(7)),
    which is as the ports are one for each network namespace, and which ends with its process. Only Linux has that.
    """

    def __init__(self) -> None:
        self._given: Counter[int] = Counter()
        self._names: dict[int, socket.socket] = {}

    def choose(
        self,
        port: int | Literal["auto"] | None,
        more: Mapping[str, int | Literal["auto"]],
        *,
        prefer: int | None = None,
        own: Container[int] = (),
    ) -> tuple[int | None, dict[str, int]]:
        """Return the ports that a job gets: its main one, and further ones by their names; :meth:`release` them.

        'auto' is a free port that no job was given; the main one is ``prefer`` where it is such a port. ValueError: a
        port is one of the agent's ``own`` or is given twice; OSError: no port is free.
        """
        wanted = more if port is None else {MAIN: port, **more}
        fixed = _checked([number for number in wanted.values() if isinstance(number, int)], own)
        chosen: dict[str, int] = {}
        try:
            for name, number in wanted.items():
                hint = prefer if name == MAIN else None
                chosen[name] = number if isinstance(number, int) else self._free_port(hint, (own, fixed))
                self._given[chosen[name]] += 1
        except OSError:
            self.release(chosen.values())
            raise
        return chosen.pop(MAIN, None), chosen

    def release(self, ports: Iterable[int]) -> None:
        """Release the ports of a job that has ended."""
        for port in ports:
            self._given[port] -= 1
            if self._given[port] <= 0:
                del self._given[port]
                if (name := self._names.pop(port, None)) is not None:
                    name.close()

    def _free_port(self, hint: int | None, refused: Iterable[Container[int]]) -> int:
        """Return ``hint`` where it is free, another port otherwise."""

        def may_have(port: int) -> bool:
            return port not in self._given and not any(port in ports for ports in refused) and self._claim(port)

        if hint is not None and is_free(hint) and may_have(hint):
            return hint
        return free_port(may_have)

    def _claim(self, port: int) -> bool:
        """Keep a port from other agents. False if one of them has it."""
        if sys.platform != "linux":
            return True
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0pagent-port-{port}")
        except OSError as error:
            name.close()
            return error.errno != errno.EADDRINUSE  # other errors: no name can be kept on this system
        self._names[port] = name
        return True


def _checked(fixed: list[int], own: Container[int]) -> list[int]:
    for index, given in enumerate(fixed):
        if given in own:
            raise ValueError(f"port {given} is the agent's own")
        if given in fixed[:index]:
            raise ValueError(f"port {given} is given twice")
    return fixed


def free_port(may_have: Callable[[int], bool] = lambda port: True) -> int:
    """Return a TCP port that is free on all addresses and that ``may_have`` accepts. OSError if there is none."""
    with ExitStack() as probes:  # kept until the end, or the system might pick the same port again
        for _ in range(_TRIES):
            port = _any_port(probes)
            if may_have(port):
                return port
    raise OSError(errno.EADDRNOTAVAIL, "no free port was found")


def _any_port(probes: ExitStack) -> int:
    if socket.has_dualstack_ipv6():
        probe = probes.enter_context(socket.socket(socket.AF_INET6))
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
    else:
        probe = probes.enter_context(socket.socket())
        probe.bind(("", 0))
    port: int = probe.getsockname()[1]
    return port


def is_free(port: int) -> bool:
    """Return whether a program could listen on the port, on both loopback addresses."""
    return not any(_in_use(family, host, port) for family, host in LOOPBACK)


def _in_use(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as probe:
            # As servers do it: connections that have ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:  # other errors: there is no IPv6, or only root may have the port
        return error.errno == errno.EADDRINUSE
    return False
