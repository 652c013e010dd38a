"""Repeat the URLs that a program prints for its own ports, with the local ports that forward to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Final, Literal, get_args

from pagent.cli.ports.job_urls import UrlFinder, UrlTranslator
from pagent.cli.terminal.standard_streams import say
from pagent.client import AgentClient, RemoteJob
from pagent.errors import CallError
from pagent.limits import KIB
from pagent.log import escape

#: Bytes at the beginning of each output in which the URLs of a running job are looked for.
_SEARCHED_MAX: Final = 64 * KIB

_Output = Literal["stdout", "stderr"]


def host_names(agent: AgentClient) -> set[str]:
    """Return the names by which programs on the agent's host may call it."""
    node = str(agent.identity.get("platform", {}).get("node") or "")
    return {node, node.partition(".")[0], f"{node.partition('.')[0]}.local"} if node else set()


async def printed_schemes(job: RemoteJob, names: Iterable[str]) -> dict[int, str]:
    """Return the schemes of the URLs that a running job has printed for its ports. LinkError."""
    translator = UrlTranslator()
    for output in get_args(_Output):
        finder = UrlFinder(names)
        with suppress(CallError):  # its output may not be read, or is gone
            async with aclosing(aiter(job.logs(output))) as chunks:
                searched = 0
                async for chunk in chunks:
                    translator.translate(finder.feed(chunk))
                    searched += len(chunk)
                    if searched >= _SEARCHED_MAX:
                        break
        translator.translate(finder.end())
    return translator.schemes


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

    def scheme(self, port: int) -> str | None:
        """Return the scheme of the last URL that was printed for a port of the job; None if there is none."""
        return self._translator.schemes.get(port)

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
