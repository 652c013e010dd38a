"""Find the URLs of a job's own ports in its output, and translate them to the local ports that forward to them.

Programs print the address that they listen on, often with a token: ``http://localhost:8888/lab?token=…``. On this
machine another port leads there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pagent.cli.terminal.plain_text import PlainText

#: A longer line has no URL that a person could use.
_LINE_MAX: Final = 16_384
#: Ports that a URL without a port means.
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}

_URL: Final = re.compile(r"https?://[^\s\x00-\x20\x7f\"'<>`\\^{}|]+", re.IGNORECASE)
_ENDS: Final = re.compile(rb"[\x00-\x20\x7f]")
#: Punctuation that ends the sentence, and not the URL.
_PUNCTUATION: Final = ".,;:!?*"
_BRACKETS: Final[Mapping[str, str]] = {")": "(", "]": "["}


class PrintedUrl(NamedTuple):
    """A URL of the host of the job. ``port``: of the job."""

    port: int
    parts: SplitResult

    def at(self, local_port: int) -> str:
        """Return the URL with a local port of 127.0.0.1."""
        user, at, _ = self.parts.netloc.rpartition("@")
        path = self.parts.path or "/"
        return self.parts._replace(netloc=f"{user}{at}127.0.0.1:{local_port}", path=path).geturl()


class UrlFinder:
    """Finds URLs of the job's host in one output of the job. ``names``: of the host, besides those of the loopback."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in names if name)
        self._plain = PlainText()
        self._word = b""  # the last word, which may continue in the next piece

    def feed(self, data: bytes) -> list[PrintedUrl]:
        """Return the URLs that are complete with this piece, in their order."""
        text = self._word + self._plain.feed(data)
        ends = [found.end() for found in _ENDS.finditer(text)] if text else []
        complete, self._word = (text[: ends[-1]], text[ends[-1] :]) if ends else (b"", text)
        if len(self._word) > _LINE_MAX:
            self._word = b""
        return self._found(complete)

    def end(self) -> list[PrintedUrl]:
        """Return the URL at the end of the output."""
        word, self._word = self._word, b""
        return self._found(word)

    def _found(self, text: bytes) -> list[PrintedUrl]:
        if b"://" not in text:
            return []
        words = _URL.findall(text.decode("utf-8", "replace"))
        return [url for word in words if (url := parse_job_url(word, self._names)) is not None]


def parse_job_url(text: str, names: Collection[str] = ()) -> PrintedUrl | None:
    """Return the URL at the beginning of a word, without the punctuation after it; None if it is of another host."""
    with suppress(ValueError):
        parts = urlsplit(_without_punctuation(text))
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
        if _is_host_of_job(host) or host.lower() in names:
            return PrintedUrl(port, parts)
    return None


def _without_punctuation(text: str) -> str:
    while text and (
        text[-1] in _PUNCTUATION or (text[-1] in _BRACKETS and text.count(text[-1]) > text.count(_BRACKETS[text[-1]]))
    ):
        text = text[:-1]
    return text


def _is_host_of_job(host: str) -> bool:
    """Return whether a host is of the loopback, or means all addresses."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


class UrlTranslator:
    """Translates printed URLs to local ones, each once. Those that are printed before the ports are known wait."""

    def __init__(self) -> None:
        self._waiting: list[PrintedUrl] = []
        self._said: set[str] = set()
        self._local_ports: Mapping[int, int] | None = None
        #: The scheme of the last URL that was printed for each port of the job.
        self.schemes: dict[int, str] = {}

    def open(self, local_ports: Mapping[int, int], said: Iterable[str]) -> list[str]:
        """Take the local port of each port of the job; return the URLs printed so far, but not those of ``said``."""
        self._local_ports = local_ports
        self._said.update(said)
        waiting, self._waiting = self._waiting, []
        return self.translate(waiting)

    def translate(self, urls: Iterable[PrintedUrl]) -> list[str]:
        """Return the local URLs for those of the job's ports, without those that were returned before."""
        urls = list(urls)
        self.schemes.update((url.port, url.parts.scheme) for url in urls)
        if self._local_ports is None:
            self._waiting += urls
            return []
        new: list[str] = []
        for url in urls:
            local_port = self._local_ports.get(url.port)
            if local_port is not None and (text := url.at(local_port)) not in self._said:
                self._said.add(text)
                new.append(text)
        return new
