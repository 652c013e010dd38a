"""What pages can do in Chromium: a job is an origin of its own, and in path mode it stays below its path."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pagent.agent import Agent
from pagent.config.router import RouterApps, RouterServer
from pagent.net.dial import Address
from pagent.router import Router
from tests.kit import browser
from tests.kit.agents import TOKEN
from tests.kit.browser import Browser, Page, running_browser
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import router_settings, running_router

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.PROGRAM is None, reason="chromium is not installed"),
]

#: A program that sets cookies, redirects, registers a service worker, and answers WebSockets with "secret".
PROGRAM = r"""
import base64, hashlib, http.server, sys

WORKER = b'''
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", event => event.waitUntil(clients.claim()));
self.addEventListener("fetch", event => {
    if (event.request.url.endsWith("/of-worker")) event.respondWith(new Response("worker"));
});
'''
COOKIES = ["a=1; Path=/", "b=2; Path=/sub", "c=3; Path=/; Domain=localhost", "__Host-d=4; Path=/; Secure", "pagent-e=5"]

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        own = "http://" + self.headers["Host"]
        if path == "/ws":
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            self.answer(101, b"\x81\x06secret", Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Accept=accept)
        elif path == "/redirect":
            self.answer(302, Location="/landed")
        elif path == "/redirect-absolute":
            self.answer(302, Location=own + "/landed")
        elif path == "/set":
            self.answer(200, Set_Cookie=COOKIES)
        elif path == "/cookies":
            self.answer(200, (self.headers["Cookie"] or "").encode())
        elif path == "/worker.js":
            self.answer(200, WORKER, Content_Type="text/javascript", Service_Worker_Allowed="/")
        elif path in ("/", "/landed", "/secret"):
            self.answer(200, b"<title>page</title>" + path.encode(), Content_Type="text/html")
        else:
            self.answer(404)

    def answer(self, status, body=b"", **fields):
        self.send_response(status)
        for name, values in fields.items():
            for value in values if isinstance(values, list) else [values]:
                self.send_header(name.replace("_", "-"), value)
        if status != 101:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Site(NamedTuple):
    """A router with two jobs of the program."""

    router: Router
    jobs: tuple[str, str]

    def by_host(self) -> list[str]:
        return [self.router.address_of(uid) or "" for uid in self.jobs]

    def by_path(self) -> list[str]:
        return [f"http://localhost:{self.router.apps_port}/{uid}/" for uid in self.jobs]


@pytest.fixture
async def site(agent: Agent) -> AsyncIterator[Site]:
    settings = router_settings(server=RouterServer(enabled=False), apps=RouterApps(enabled=True, paths=True))
    async with running_router(settings) as router:
        address = Address("127.0.0.1", agent.rpc_port)
        router.keep_link(address, lambda: TOKEN)
        link = await router.link_to(agent.uid, address, TOKEN, PATIENCE_S)
        uids = []
        for _ in range(2):
            uids.append((await router.directory.create(link, "job"))["uid"])
            command = [sys.executable, "-c", PROGRAM, "{port}"]
            await link.call("job_start", uids[-1], command, {}, port="auto", ready="connect")
        yield Site(router, (uids[0], uids[1]))


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    async with running_browser(tmp_path) as running:
        yield running


async def text(page: Page, url: str, options: str = "{}") -> str:
    """What a page gets that fetches ``url``."""
    got: str = await page.run(f"const got = await fetch({url!r}, {options}); return got.url + ' ' + await got.text()")
    return got


def websocket(url: str) -> str:
    """A script that opens a WebSocket, and returns its first message."""
    return f"""
        const socket = new WebSocket({url.replace("http:", "ws:")!r});
        return await new Promise(done => {{
            socket.onmessage = event => done(event.data);
            socket.onclose = event => done("closed");
        }})"""


FRAME = """
    const frame = document.createElement("iframe");
    frame.src = {url!r};
    document.body.append(frame);
    await new Promise(done => frame.onload = done);
    return frame.contentDocument ? frame.contentDocument.title : "no access";
"""


#: A frame without an origin opens a WebSocket.
SANDBOXED = """
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    const end = "</" + "script>";
    frame.srcdoc = `<script>
        const socket = new WebSocket({url!r});
        socket.onmessage = event => parent.postMessage(event.data, "*");
        socket.onclose = () => parent.postMessage("closed", "*");` + end;
    const got = new Promise(done => addEventListener("message", event => done(event.data)));
    document.body.append(frame);
    return await got;
"""


async def test_a_job_is_an_origin_of_its_own(site: Site, chromium: Browser) -> None:
    own, other = site.by_host()
    page = await chromium.open(own)
    assert await text(page, f"{own}redirect") == f"{own}landed <title>page</title>/landed"
    assert await text(page, f"{own}redirect-absolute") == f"{own}landed <title>page</title>/landed"
    await text(page, f"{own}set")
    assert (await text(page, f"{own}cookies")).endswith("cookies a=1; __Host-d=4")
    assert await page.run(websocket(f"{own}ws")) == "secret"
    registered = "const got = await navigator.serviceWorker.register('worker.js'); return got.scope"
    assert await page.run(registered) == own
    await page.until("return navigator.serviceWorker.controller !== null")
    assert (await text(page, f"{own}of-worker")).endswith(" worker")
    # Of others it reads nothing.
    control = site.router.control_port
    for url in (f"{other}secret", f"http://localhost:{control}/connections", f"http://127.0.0.1:{control}/info"):
        assert await text(page, url) == "TypeError: Failed to fetch"
        assert await text(page, url, "{mode: 'no-cors'}") == " "
    assert await page.run(websocket(f"{other}ws")) == "closed"
    assert await page.run(FRAME.format(url=other)) == "no access"
    assert await page.run(SANDBOXED.format(url=other.replace("http:", "ws:") + "ws")) == "closed"
    await page.run("document.cookie = 'parent=1; domain=localhost'; localStorage.own = 1")
    seen = "return document.cookie + (localStorage.own || '') + await (await fetch('cookies')).text()"
    assert await (await chromium.open(other)).run(seen) == ""


async def test_in_path_mode_a_job_stays_below_its_path(site: Site, chromium: Browser) -> None:
    own, other = site.by_path()
    page = await chromium.open(own)
    assert await text(page, f"{own}redirect") == f"{own}landed <title>page</title>/landed"
    assert await text(page, f"{own}redirect-absolute") == f"{own}landed <title>page</title>/landed"
    await text(page, f"{own}set")
    assert (await text(page, f"{own}cookies")).endswith("cookies a=1; c=3")
    assert (await text(page, f"{other}cookies")).endswith("cookies ")
    assert await page.run(websocket(f"{own}ws")) == "secret"
    assert "(403)" in await page.run("return await navigator.serviceWorker.register('worker.js')")
    # The API is another origin even here; other jobs are not.
    assert await text(page, f"http://localhost:{site.router.control_port}/connections") == "TypeError: Failed to fetch"
    assert await page.run(FRAME.format(url=other)) == "page"
