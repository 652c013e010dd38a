"""Exchanges with an original router, made again with ours in front of our agent.

``router_exchanges.json`` holds what the original answered: the status, the fields that callers rely on, JSON, and the
texts of errors. Ids and addresses are placeholders. ``OURS`` lists where the answer is another one on purpose.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.config.model import ClientSettings, IdentitySettings, JobSettings, ServerSettings, Settings
from pagent.router import Router
from tests.kit.agents import TOKEN, running_agent
from tests.kit.routers import Answer, ask, connected, running_router

EXCHANGES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "router_exchanges.json").read_text())

#: By the name of the exchange: the status of ours, where it is not that of the original.
OURS = {
    "create: not JSON": 400,
    "create: by address, wrong token": 502,
    "create: by address, no listener": 502,
    "start: unknown program": 400,
    "start again": 409,
    "http: chunked POST": 200,
    "http: redirect": 302,
    "ws: refused by the job": 404,
    "file: missing": 404,
    "archive: bad": 400,
}

JOB = """
import base64, hashlib, os, sys, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, body, *fields):
        self.send_response_only(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do(self):
        path = self.path.partition("?")[0]
        body = self.body()
        if path.startswith("/echo"):
            head = f"{self.command} {self.path}\\n" + "".join(f"{n}: {v}\\n" for n, v in self.headers.items())
            fields = [("Content-Type", "text/plain"), ("ETag", '"x"'), ("Set-Cookie", "a=1")]
            self.answer(200, head.encode() + b"\\n" + body, *fields, ("Set-Cookie", "b=2; Path=/"))
        elif path.startswith("/status/"):
            status = int(path.rpartition("/")[2])
            self.answer(status, b"" if status in (204, 304) else b"status")
        elif path == "/redirect":
            self.answer(302, b"", ("Location", "/echo"))
        elif path == "/chunked":
            self.send_response_only(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\\r\\nabc\\r\\n0\\r\\n\\r\\n")
        elif path == "/ws":
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            self.send_response_only(101)
            for name, value in ("Upgrade", "websocket"), ("Connection", "upgrade"), ("Sec-WebSocket-Accept", accept):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"\\x81\\x05hello")
            self.close_connection = True
        else:
            self.answer(404, b"not here")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = do

    def log_message(self, *args):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
url = os.environ["DA__PAGENT__JOB_ENDPOINT"]
query = f"job_id={os.environ['DA__PAGENT__JOB_ID']}&port={server.server_port}"
urllib.request.urlopen(f"{url}?{query}").read()
server.serve_forever()
"""


@dataclass
class Session:
    """The state of the exchanges: what the placeholders stand for."""

    router: Router
    known: dict[str, str] = field(default_factory=dict)

    def real(self, text: str) -> str:
        """Put what they stand for in the place of placeholders."""
        return re.sub(r"<[^<>]+>", lambda found: self.known.get(found[0], found[0]), text)

    async def ask(self, exchange: dict[str, Any]) -> Answer:
        body = json.loads(self.real(json.dumps(exchange["body"])))
        headers = [tuple(pair) for pair in exchange["headers"]]
        return await ask(self.router.control_port, exchange["method"], self.real(exchange["target"]), body, headers)

    def learn(self, expected: Any, found: Any) -> None:
        """Compare JSON; a placeholder that is not known yet stands for what is found. More keys may be there."""
        if isinstance(expected, dict):
            assert isinstance(found, dict)
            for name, value in expected.items():
                if name == "token":
                    assert name not in found  # of agents: ours leaves it out
                else:
                    self.learn(value, found.get(name))
        elif isinstance(expected, list):
            assert len(expected) == len(found)
            for one, other in zip(expected, found, strict=True):
                self.learn(one, other)
        elif isinstance(expected, str):
            self._learn_text(expected, found)
        else:
            assert expected == found

    def _learn_text(self, expected: str, found: Any) -> None:
        assert isinstance(found, str), (expected, found)
        names: list[str] = []

        def group(part: str) -> str:
            if not part.startswith("<"):
                return re.escape(part)
            if part in self.known:
                return re.escape(self.known[part])
            names.append(part)
            return "(.*)"

        pattern = "".join(map(group, re.split(r"(<[^<>]+>)", expected)))
        match = re.fullmatch(pattern, found)
        assert match, (self.real(expected), found)
        self.known.update(zip(names, match.groups(), strict=True))


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    (tmp_path / "jobs").mkdir()
    async with running_router() as router:
        settings = Settings(
            identity=IdentitySettings(name="one", uid="AGENT"),
            server=ServerSettings(accept_tokens=("tok2",)),
            client=ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN),
            jobs=JobSettings(root=tmp_path / "jobs"),
            properties={"runtime": "py3"},
        )
        async with running_agent(settings) as agent:
            await connected(router, "AGENT")
            yield Session(router, _known(agent, tmp_path))


def _known(agent: Agent, folder: Path) -> dict[str, str]:
    script = folder / "job.py"
    script.write_text(JOB)
    return {
        "<agent address>": f"127.0.0.1:{agent.rpc_port}",
        "<python>": sys.executable,
        "<script>": str(script),
        "<port>": "1",  # nothing listens there
    }


async def test_every_exchange_is_answered_as_the_original_router_did(session: Session) -> None:
    for exchange in EXCHANGES:
        try:
            answer = await session.ask(exchange)
        except TimeoutError:
            raise AssertionError(f"{exchange['name']}: no answer") from None
        try:
            check(session, exchange, answer)
        except AssertionError as error:
            raise AssertionError(f"{exchange['name']}: {error}\n{answer}") from error


def check(session: Session, exchange: dict[str, Any], answer: Answer) -> None:
    name, is_traffic = exchange["name"], "/http/" in exchange["target"]
    assert answer.status == OURS.get(name, exchange["status"])
    if name in OURS:
        assert is_traffic or answer["Content-Type"] == "text/plain; charset=utf-8"
    if not is_traffic or answer.status == 502:
        assert answer["Cache-Control"] == "no-store, must-revalidate"
        assert answer["Expires"] == "0"
        assert answer["Connection"] == "close"
    if name in OURS:
        return
    if not is_traffic:
        for field_name, value in exchange["fields"].items():
            assert answer[field_name] == value, field_name
    if "json" in exchange:
        session.learn(exchange["json"], answer.json)
    if "text" in exchange:
        text = re.sub(r"call \d+", "call N", session.real(exchange["text"]))
        assert re.sub(r"call \d+", "call N", answer.text).rstrip("\n").startswith(text.rstrip("\n"))


def test_every_difference_is_of_an_exchange() -> None:
    assert len(EXCHANGES) == 63
    assert set(OURS) <= {exchange["name"] for exchange in EXCHANGES}
