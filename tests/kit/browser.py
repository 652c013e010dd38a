"""Chromium without a window, driven by the DevTools protocol, for tests of pages.

https://chromedevtools.github.io/devtools-protocol/ defines the methods.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.kit.peer import PATIENCE_S

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

#: It may run as root, and use no service of its vendor.
_OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
]
_START_S = 30.0
_MESSAGE_MAX = 64 << 20


class Browser:
    """The connection to a running Chromium."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        #: Events, by the id of their session.
        self.events: list[dict[str, Any]] = []
        self._targets: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                answer = self._answers.pop(message["id"])
                if not answer.done():  # its caller may not have waited
                    answer.set_result(message)
            else:
                self.events.append(message)

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Call a method; AssertionError if it fails."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        async with asyncio.timeout(PATIENCE_S):
            got = await answer
        assert "error" not in got, (method, got["error"])
        return got["result"]

    async def open(self, url: str) -> Page:
        """Open a page, and wait until it is loaded."""
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        self._targets.append(target)
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.call(f"{domain}.enable")
        await page.go(url)
        return page

    async def close_pages(self) -> None:
        """Close all pages that were opened, and forget their events."""
        for target in self._targets:
            await self.call("Target.closeTarget", targetId=target)
        self._targets.clear()
        self.events.clear()

    async def close(self) -> None:
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def call(self, method: str, **parameters: Any) -> Any:
        return await self._browser.call(method, self._session, **parameters)

    def events(self, method: str) -> list[dict[str, Any]]:
        """The parameters of the events of this page so far."""
        return [
            each["params"]
            for each in self._browser.events
            if each["method"] == method and each.get("sessionId") == self._session
        ]

    async def go(self, url: str) -> None:
        """Go to ``url``, and wait until it is loaded."""
        before = len(self.events("Page.loadEventFired"))
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.events("Page.loadEventFired")) == before:  # noqa: ASYNC110 - events come in one task
                await asyncio.sleep(0.02)

    async def run(self, script: str) -> Any:
        """Run the body of an async function in the page; return its result, or the text of its error."""
        wrapped = f"(async () => {{ try {{ {script} }} catch (error) {{ return String(error) }} }})()"
        got = await self.call("Runtime.evaluate", expression=wrapped, awaitPromise=True, returnByValue=True)
        return got["result"].get("value")

    async def until(self, script: str, patience_s: float = PATIENCE_S) -> Any:
        """Run it again and again, until it returns something true; that."""
        async with asyncio.timeout(patience_s):
            while not (got := await self.run(script)):  # noqa: ASYNC110 - the page reports nothing
                await asyncio.sleep(0.05)
            return got


@asynccontextmanager
async def running_browser(folder: Path) -> AsyncIterator[Browser]:
    """Chromium with a profile in ``folder``; it is ended after the block."""
    assert PROGRAM is not None
    env = {**os.environ, "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *_OPTIONS,
        f"--user-data-dir={folder / 'profile'}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        start_new_session=True,
    )
    try:
        async with connect(await _address(process), max_size=_MESSAGE_MAX) as socket:
            browser = Browser(socket)
            try:
                yield browser
            finally:
                with suppress(Exception):
                    await browser.call("Browser.close")
                await browser.close()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.communicate()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(_START_S):
        while line := (await process.stderr.readline()).decode(errors="replace"):
            if "DevTools listening on " in line:
                return line.partition(" on ")[2].strip()
    raise AssertionError("Chromium has ended")
