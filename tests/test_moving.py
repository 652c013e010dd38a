"""The move from the original router, step by step (docs/moving-from-the-original.rst).

What a portal asks is answered after each step. An agent written from the protocol page stands for one of the field, and
a peer written from it for the original router.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pagent.agent import Agent
from pagent.config.load import load_model
from pagent.config.model import ClientSettings, IdentitySettings, JobSettings, ServerSettings, Settings
from pagent.config.router import RouterSettings
from pagent.router import Router
from tests.kit.agents import TOKEN, running_agent
from tests.kit.field_agent import field_agent
from tests.kit.peer import listen
from tests.kit.routers import ask, connected, running_router

#: A configuration of the original router, every key of it.
ORIGINAL = """
identity:
  name: router
  uid: ROUTER
server:
  enabled: true
  interface: 127.0.0.1
  port: 0
  accept_tokens: [{token}]
control:
  interface: 127.0.0.1
  port: 0
client:
  polling_delay: 5
"""

#: Reports its port as jobs of the field do, and echoes as the jobs of the field's agent do here.
JOB = """
import os, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = f"{self.command} {self.path}\\n".encode() + self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
url, job = os.environ["DA__PAGENT__JOB_ENDPOINT"], os.environ["DA__PAGENT__JOB_ID"]
urllib.request.urlopen(f"{url}?job_id={job}&port={server.server_port}").read()
server.serve_forever()
"""


async def portal(port: int) -> None:
    """Make the requests of a portal: a job from its creation to its end."""
    peers = (await ask(port, "GET", "/connections")).json["connections"]
    assert [each["peer"]["auth"]["uid"] for each in peers] == ["AGENT"]
    created = await ask(port, "POST", "/jobs/create", {"name": "job", "agent": {"type": "uid", "uid": "AGENT"}})
    assert (created.status, created.json["state"]) == (200, "NEW")
    assert created.json["agent"]["properties"] == {"runtime": "py3"}
    path = created.json["path"]
    octets = [("Content-Type", "application/octet-stream")]
    assert (await ask(port, "POST", f"{path}/file/job.py", JOB, octets)).status == 200
    assert (await ask(port, "GET", f"{path}/file/job.py")).text == JOB
    assert (await ask(port, "GET", f"{path}/file/none")).status == 404
    started = await ask(port, "POST", f"{path}/start", {"args": [sys.executable, "job.py"], "env": {}})
    assert (started.status, started.json["state"]) == (200, "RUNNING"), started
    assert (await ask(port, "GET", f"{path}/http/page")).text == "GET /page\n"
    assert (await ask(port, "POST", f"{path}/http/form", b"a=b")).text == "POST /form\na=b"
    assert (await ask(port, "POST", f"{path}/remove")).status == 200
    assert (await ask(port, "GET", f"{path}/info")).status == 404


@asynccontextmanager
async def our_agent(router: Router, folder: Path) -> AsyncIterator[Agent]:
    settings = Settings(
        identity=IdentitySettings(uid="AGENT"),
        server=ServerSettings(enabled=False),
        client=ClientSettings(
            enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN, reconnect_delay=0.1
        ),
        jobs=JobSettings(root=folder),
        properties={"runtime": "py3"},
    )
    async with running_agent(settings) as agent:
        yield agent


@pytest.fixture
def original(tmp_path: Path) -> RouterSettings:
    file = tmp_path / "router.yaml"
    file.write_text(ORIGINAL.format(token=TOKEN))
    return load_model(RouterSettings, file)


async def test_agents_are_replaced_and_put_back(original: RouterSettings, tmp_path: Path) -> None:
    async with running_router(original) as router:
        async with field_agent("AGENT", router.server_port, TOKEN):
            await connected(router, "AGENT")
            await portal(router.control_port)
        async with our_agent(router, tmp_path):
            await connected(router, "AGENT")
            await portal(router.control_port)
        async with field_agent("AGENT", router.server_port, TOKEN):
            await connected(router, "AGENT")
            await portal(router.control_port)


@pytest.mark.parametrize("kind", ["of the field", "ours"])
async def test_the_router_is_replaced_in_place(kind: str, original: RouterSettings, tmp_path: Path) -> None:
    async with running_router(original) as router:
        server = replace(original.server, port=router.server_port)
        control = replace(original.control, port=router.control_port)
        manager = field_agent("AGENT", server.port, TOKEN) if kind == "of the field" else our_agent(router, tmp_path)
        agent = await manager.__aenter__()
        await connected(router, "AGENT")
        await portal(control.port)
    assert agent.uid == "AGENT"
    try:
        async with running_router(replace(original, server=server, control=control)) as router:
            await connected(router, "AGENT")
            await portal(control.port)
    finally:
        await manager.__aexit__(None, None, None)


async def test_an_agent_works_with_an_original_router_again(tmp_path: Path) -> None:
    async with listen() as original:
        settings = Settings(
            server=ServerSettings(enabled=False),
            client=ClientSettings(enabled=True, address=f"127.0.0.1:{original.port}"),
            jobs=JobSettings(root=tmp_path),
        )
        async with running_agent(settings):
            peer = await original.accepted()
            job = (await peer.call("job_create", "job"))["uid"]
            await peer.call("job_start", job, [sys.executable, "-c", JOB], {})
            status, _, body = await peer.http(job, path="/page")
            assert (status, b"".join(body)) == (200, b"GET /page\n")
