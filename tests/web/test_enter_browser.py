"""Tickets in Chromium: enter, reload, WebSocket, a second job beside it, the end of a ticket, and frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pagent.config.model import Settings
from pagent.config.router import Access, RouterApps
from tests.access.conftest import OWN, token
from tests.kit import browser
from tests.kit.browser import Browser, Page, running_browser
from tests.kit.peer import PATIENCE_S
from tests.kit.tickets import Person, TicketSite, apps_settings, ticket_site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.PROGRAM is None, reason="chromium is not installed"),
]

#: Its page says to the page around it that it is there. A WebSocket stays open, and gets one message.
PROGRAM = r"""
import base64, hashlib, http.server, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/ws":
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "websocket")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
            self.end_headers()
            self.wfile.write(b"\x81\x06secret")
            self.wfile.flush()
            self.rfile.read(1)
            return
        body = b"<title>job</title><script>parent.postMessage('framed', '*')</script>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

OPEN = """
    window.socket = new WebSocket({url!r});
    window.over = new Promise(done => socket.onclose = () => done("closed"));
    return await Promise.race([over, new Promise(done => socket.onmessage = event => done(event.data))]);
"""
FRAME = """
    const frame = document.createElement("iframe");
    const framed = new Promise(done => addEventListener("message", event => done(event.data)));
    frame.src = {url!r};
    document.body.append(frame);
    await new Promise(done => frame.onload = done);
    return await Promise.race([framed, new Promise(done => setTimeout(() => done("blocked"), 3000))]);
"""


@pytest.fixture
async def portal() -> AsyncIterator[str]:
    """The origin of a page that frames jobs."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<body>portal</body>")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def site(settings: Settings, portal: str) -> AsyncIterator[TicketSite]:
    apps = RouterApps(enabled=True, frame_origins=(portal,))
    access = Access(tokens=(token("portal", *(f"{scope}!any" for scope in OWN)),))
    async with ticket_site(settings, apps_settings(apps=apps, access=access), jobs=0) as running:
        running.token = "secret-portal"
        running.jobs = [await running.start_job(program=PROGRAM) for _ in range(2)]
        yield running


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    async with running_browser(tmp_path) as running:
        yield running


async def enter(chromium: Browser, url: str) -> Page:
    page = await chromium.open(url)
    await page.until("return location.pathname === '/' && document.title === 'job'")
    return page


def top(url: str) -> str:
    return url.partition(".pagent/enter")[0]


async def test_a_browser_with_tickets_for_two_jobs(site: TicketSite, chromium: Browser, portal: str) -> None:
    first, second = await site.url(), await site.url(site.jobs[1], ttl_s=12)
    assert (await Person(site.router.apps_port).get(first)).status == 200  # a link preview
    page = await enter(chromium, first)
    assert "c=" not in await page.run("return location.href + document.referrer")
    await page.go(top(first))
    assert await page.run("return document.title + document.cookie") == "job"
    socket = top(first).replace("http:", "ws:") + "ws"
    assert await page.run(OPEN.format(url=socket)) == "secret"
    # The job beside it has no use of the cookie that the browser has for the first one.
    beside = await enter(chromium, second)
    assert await beside.run(OPEN.format(url=socket)) == "closed"
    assert await beside.run(f"return await (await fetch({top(first)!r})).text()") == "TypeError: Failed to fetch"
    assert await beside.run(FRAME.format(url=top(first))) == "blocked"
    # The ticket of the second job ends while a WebSocket is open.
    own = top(second).replace("http:", "ws:") + "ws"
    assert await beside.run(OPEN.format(url=own)) == "secret"
    async with asyncio.timeout(PATIENCE_S):
        assert await beside.run("return await over") == "closed"
    await beside.go(top(second))
    assert "not valid any more" in await beside.run("return document.body.innerText")
    assert await page.run("return socket.readyState") == 1
    # The code was used up.
    again = await chromium.open(first)
    await again.until("return document.body.innerText.includes('good once')")


async def test_frames(site: TicketSite, chromium: Browser, portal: str) -> None:
    embedded, other = await site.url(embed=True), await site.url(site.jobs[1])
    page = await chromium.open(portal)
    assert await page.run(FRAME.format(url=embedded)) == "framed"
    # A ticket that is not for embedding sets no cookie that is sent in a frame, and its pages cannot be framed.
    page = await chromium.open(portal)
    assert await page.run(FRAME.format(url=other)) == "blocked"
    await enter(chromium, other)
    assert await page.run(FRAME.format(url=top(other))) == "blocked"
