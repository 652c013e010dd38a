"""Parameters of queries are those that openapi.json names."""

from __future__ import annotations

import re

import pytest

from tests.kit.routers import running_router
from tests.web.v1.portal import Portal, document

OPERATIONS = [(method.upper(), path) for path, methods in document()["paths"].items() for method in methods]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_unknown_parameters_are_refused_by_every_operation(method: str, path: str) -> None:
    async with running_router() as router:
        target = re.sub(r"{\w+}", "unknown", path)
        answer = await Portal(router.control_port).ask(method, f"{target}?colour=x")
        assert answer.status == 400
        assert method == "HEAD" or answer.json["detail"] == "unknown parameter 'colour'"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=1&limit=2", "'limit' stands twice"),
        ("label.a=1&label.a=2", "'label.a' stands twice"),
        ("label=1", "unknown parameter 'label'"),
        ("labels=1", "unknown parameter 'labels'"),
        ("state=GONE", "state must be one of NEW,"),
        ("limit=501", "limit must be a number from 1 to 500"),
    ],
)
async def test_queries_that_are_refused(query: str, words: str) -> None:
    async with running_router() as router:
        answer = await Portal(router.control_port).ask("GET", f"/v1/jobs?{query}")
        assert answer.status == 400
        assert words in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("OPTIONS", "/v1/jobs", "GET,HEAD"),
        ("BREW", "/v1", "GET,HEAD"),
        ("PUT", "/v1/jobs/x", "DELETE,GET,HEAD"),
        ("GET", "/v1/jobs/x/start", "POST"),
        ("POST", "/v1/jobs/x/wait", "GET,HEAD"),
    ],
)
async def test_unknown_methods(method: str, target: str, allow: str) -> None:
    async with running_router() as router:
        answer = await Portal(router.control_port).ask(method, target)
        assert answer.status == 405
        assert set(allow.split(",")) <= set((answer["Allow"] or "").split(","))


async def test_head_answers_as_get_without_the_body() -> None:
    async with running_router() as router:
        portal = Portal(router.control_port)
        for target in ("/v1", "/v1/jobs", "/v1/agents", "/v1/openapi.json", "/v1/jobs/unknown"):
            get, head = [await portal.ask(method, target) for method in ("GET", "HEAD")]
            assert (head.status, head["Content-Length"], head.body) == (get.status, get["Content-Length"], b"")
