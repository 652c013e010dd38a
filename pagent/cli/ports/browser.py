"""Open a URL in the browser of the user.

All users of a machine can read the arguments of a process, so a URL with a secret is not among those of the browser.
The browser gets the address of a page of this command instead, which redirects it once, and only if the browser belongs
to the same user.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from pagent.cli.ports.socket_owner import owner_of_peer
from pagent.cli.terminal.daemon_thread import in_daemon_thread

#: Seconds that the browser may take to ask for the page that redirects it.
_FETCH_S: Final = 20.0
_REQUEST_S: Final = 5.0


def reason_for_no_browser() -> str:
    """Return why there is no browser to use, empty if there may be one."""
    if os.environ.get("BROWSER") or sys.platform in ("darwin", "win32"):
        return ""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return ""
    return "there is no display"


async def open_browser(url: str, *, patience_s: float = _FETCH_S) -> str:
    """Open a URL in a browser. Return why that is not possible, empty if it is done.

    :param patience_s: seconds that the browser may take to ask for the page that redirects it.
    """
    if reason := reason_for_no_browser():
        return reason
    if not _has_secret(url):
        return "" if await _launched(url) else "no browser can be started"
    try:
        async with _redirecting(url) as (page, fetched):
            if not await _launched(page):
                return "no browser can be started"
            async with asyncio.timeout(patience_s):
                await fetched.wait()
    except TimeoutError:
        return "the browser has not asked for the page"
    except OSError as error:
        return f"cannot listen on 127.0.0.1: {error.strerror}"
    return ""


def _has_secret(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.query or parts.fragment or parts.username or parts.path.strip("/"))


async def _launched(url: str) -> bool:
    """Start a browser. One without a window runs until the user ends it."""

    def launch() -> bool:
        try:
            return webbrowser.open(url)
        except (webbrowser.Error, OSError):
            return False

    return await in_daemon_thread(launch, "browser")


@asynccontextmanager
async def _redirecting(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Yield the address of a page that redirects to ``url`` once, and an event that is set then. OSError."""
    path = f"/{secrets.token_urlsafe(16)}"
    fetched = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
            words = head.split(b" ", 2)
            is_ours = words[:2] == [b"GET", path.encode()] and owner_of_peer(writer) in (None, os.getuid())
            if is_ours and not fetched.is_set():
                fetched.set()
                writer.write(_redirection(url))
            else:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}", fetched
    finally:
        server.close()


def _redirection(url: str) -> bytes:
    fields = ("Cache-Control: no-store", "Referrer-Policy: no-referrer", "Content-Length: 0", "Connection: close")
    return "\r\n".join(("HTTP/1.1 303 See Other", f"Location: {url}", *fields, "", "")).encode()
