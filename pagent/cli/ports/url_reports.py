"""Repeat the URLs that a program prints for its own ports, with the local ports that forward to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from pagent.cli.ports.job_urls import UrlFinder, UrlTranslator
from pagent.cli.terminal.standard_streams import say
from pagent.client import AgentClient
from pagent.log import escape


def host_names(agent: AgentClient) -> set[str]:
    """Return the names by which programs on the agent's host may call it."""
    node = str(agent.identity.get("platform", {}).get("node") or "")
    return {node, node.partition(".")[0], f"{node.partition('.')[0]}.local"} if node else set()


class UrlReports:
    """Reads the outputs of a program, and prints its URLs.

    :param held: tells whether a message would now disturb the screen; URLs are printed when this is over.
    """

    def __init__(self, names: Iterable[str], held: Callable[[], bool] = lambda: False) -> None:
        names = frozenset(names)
        self._finders = {fd: UrlFinder(names) for fd in (1, 2)}
        self._translator = UrlTranslator()
        self._held = held
        self._waiting: list[str] = []

    def copied(self, fd: int, data: bytes) -> None:
        """Take a piece of output that was copied to a descriptor of this process."""
        self._report(self._translator.translate(self._finders[fd].feed(data)))

    def open(self, local_ports: Mapping[int, int], said: Collection[str]) -> list[str]:
        """Take the local port of each port of the job; print the URLs printed so far, and return them.

        :param said: URLs that are not repeated.
        """
        urls = self._translator.open(local_ports, said)
        self._report(urls)
        return urls

    def end(self) -> None:
        """Print the URLs that are left at the end of the output."""
        for finder in self._finders.values():
            self._report(self._translator.translate(finder.end()))

    def _report(self, urls: list[str]) -> None:
        self._waiting += urls
        if self._waiting and not self._held():
            urls, self._waiting = self._waiting, []
            for url in urls:
                say(f"{escape(url)} forwards to the job", strong=True)
