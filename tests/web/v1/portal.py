"""A client of the API that holds every answer to the file openapi.json."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters

from pagent.agent import Agent
from pagent.config.model import ClientSettings, Settings
from pagent.config.router import RouterSettings
from pagent.router import Router
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import Answer, ask, connected, router_settings, running_router


@cache
def document() -> dict[str, Any]:
    """The file, as it is served."""
    found: dict[str, Any] = json.loads(files("pagent.web.v1").joinpath("openapi.json").read_bytes())
    return found


_BINARY = ("application/x-tar", "application/gzip", "application/octet-stream", "text/plain")


def _text(data: bytes) -> str:
    return data.decode("latin-1")


@cache
def _api() -> OpenAPI:
    kinds = dict.fromkeys(_BINARY, _text)
    return OpenAPI.from_dict(
        document(), Config(extra_media_type_deserializers={"application/problem+json": json.loads, **kinds})
    )


class _Request:
    """A request as openapi-core reads it."""

    host_url = "http://router"

    def __init__(self, method: str, target: str, fields: Mapping[str, str], body: bytes) -> None:
        parts = urlsplit(target)
        start, files, rest = parts.path.partition("/files/")
        self.path = start + files + (rest.replace("/", "%2F") or "%2F" if files else "")
        self.method = method.lower()
        self.body = body
        self.content_type = fields.get("content-type", "")
        self.parameters = RequestParameters(query=dict(parse_qsl(parts.query)), header=dict(fields))


@dataclass(frozen=True)
class _Response:
    """A response as openapi-core reads it."""

    data: bytes
    status_code: int
    content_type: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Portal:
    """Asks a router; ``token`` goes with each request.

    AssertionError or OpenAPIError for an answer that does not fit.
    """

    port: int
    token: str | None = None

    async def ask(
        self, method: str, target: str, body: Any = None, headers: Iterable[tuple[str, str]] = (), **options: Any
    ) -> Answer:
        """Make a request; ``body``: bytes, or a value that goes as JSON."""
        fields = [*headers]
        if self.token is not None:
            fields.append(("Authorization", f"Bearer {self.token}"))
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if data and not any(name.lower() == "content-type" for name, _ in fields):
            fields.append(("Content-Type", "application/json"))
        answer = await ask(self.port, method, target, data, fields, **options)
        check(method, target, fields, data, answer)
        return answer

    async def get(self, target: str) -> Any:
        """Return what a GET answers with 200."""
        answer = await self.ask("GET", target)
        assert answer.status == 200, answer
        return answer.json


def check(method: str, target: str, fields: Iterable[tuple[str, str]], body: bytes, answer: Answer) -> None:
    """Hold an answer to the file. A path or method that is not in it must be 404 or 405, and a problem."""
    assert answer["X-Request-Id"]
    names = {name.lower(): value for name, value in answer.fields}
    kind = names.get("content-type", "").partition(";")[0]
    if answer.status >= 400:
        assert kind == "application/problem+json", answer
        assert method == "HEAD" or answer.json["status"] == answer.status
    if answer.status in (404, 405) or method == "HEAD":
        return
    if not answer.body and kind in _BINARY:
        return  # no data at all is missing data for the validator
    request = _Request(method, target, {name.lower(): value for name, value in fields}, body)
    _api().validate_response(request, _Response(answer.body, answer.status, kind, names))


@asynccontextmanager
async def site(settings: Settings, router: RouterSettings | None = None) -> AsyncIterator[tuple[Router, Agent]]:
    """A router, and an agent that has dialled it and listed its jobs."""
    async with running_router(router or router_settings()) as running:
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{running.server_port}", token=TOKEN)
        async with running_agent(replace(settings, client=client)) as agent:
            link = await connected(running, agent.uid)
            assert await running.directory.watches.until_listed([link.key], PATIENCE_S)
            yield running, agent
