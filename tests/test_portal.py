"""The program of docs/portal.rst runs as it stands there."""

from __future__ import annotations

import asyncio
import hashlib
import textwrap
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from pagent.config.model import Settings
from pagent.config.router import Access, AccessToken, RouterApps
from tests.kit.routers import router_settings
from tests.web.v1.portal import site

PAGE = Path(__file__).parent.parent / "docs" / "portal.rst"
SECRET = "the-token-of-a-portal"


def source() -> str:
    code = PAGE.read_text("utf-8").partition(".. code-block:: python\n")[2]
    lines = []
    for line in code.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line)
    return textwrap.dedent("\n".join(lines)).strip()


def module() -> Any:
    names: dict[str, Any] = {}
    exec(compile(source(), str(PAGE), "exec"), names)
    return SimpleNamespace(**names)


def test_it_is_short() -> None:
    assert len([line for line in source().splitlines() if line.strip()]) <= 60


#: Serves on the port of its first argument, and ends with code 3 after a request for /end.
PROGRAM = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
        self.wfile.flush()
        if self.path == "/end":
            os._exit(3)
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


async def test_the_portal(settings: Settings) -> None:
    token = AccessToken("portal", hashlib.sha256(SECRET.encode()).hexdigest(), ("read", "jobs", "proxy"))
    router_with_apps = router_settings(access=Access(tokens=(token,)), apps=RouterApps(enabled=True))
    async with site(settings, router_with_apps) as (router, _):
        example = module()

        def use() -> None:
            portal = example.Portal(f"http://127.0.0.1:{router.control_port}", SECRET)
            job = portal.create("alice", "physics-1", PROGRAM)
            assert portal.create("alice", "physics-1", PROGRAM)["uid"] == job["uid"]
            assert (job["owner"], job["labels"]["user"]) == ("portal", "alice")
            portal.create("bob", "physics-1", PROGRAM)
            assert [each["uid"] for each in portal.jobs_of("alice")] == [job["uid"]]
            assert opened(portal.link(job, "alice"), router.apps_port, "/end") == b"hello"
            assert portal.wait(job)["exit_code"] == 3
            portal.end(job)
            assert portal.jobs_of("alice") == []
            with pytest.raises(example.Refused, match="is not found"):
                portal.end(job)
            with pytest.raises(example.Refused, match="the token is not valid"):
                example.Portal(f"http://127.0.0.1:{router.control_port}", "another").jobs_of("alice")

        await asyncio.to_thread(use)


def opened(address: str, port: int, target: str) -> bytes:
    """Enter a job as a browser does, and return what it answers: names below localhost need no resolver."""
    parts = urlsplit(address)
    code = dict(parse_qsl(parts.query))["c"]
    fields = {"Host": parts.netloc, "Content-Type": "application/x-www-form-urlencoded"}
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("POST", parts.path, urlencode({"c": code}), fields)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (303, b"")
        cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", target, headers={"Host": parts.netloc, "Cookie": cookie})
        return connection.getresponse().read()
