"""Bodies that are no JSON, or not what an operation takes."""

from __future__ import annotations

import pytest

from pagent.errors import RequestRefusedError
from pagent.router_limits import API_BODY_MAX
from pagent.web.v1.shapes import boolean, integer, list_of, map_of, mapping, nullable, number, one_of, text
from tests.kit.routers import running_router
from tests.web.v1.portal import Portal

BODY = b'{"cordoned": true}'
JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (BODY, "text/plain", 415, "application/json"),
        (BODY, "application/x-www-form-urlencoded", 415, "application/json"),
        (BODY, "application/json; charset=utf-8", 404, "unknown"),
        (b"{", "application/json", 400, "not valid JSON"),
        (b"\xff", "application/json", 400, "not valid JSON"),
        (b'{"cordoned": NaN}', "application/json", 400, "not valid JSON"),
        (b'{"cordoned": "\\ud800"}', "application/json", 400, "not valid JSON"),
        (b"[" * 100_000, "application/json", 400, "not valid JSON"),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "application/json", 400, ""),
        (b'{"cordoned": ' + b"[" * 1000 + b"]" * 1000 + b', "cordoned": true}', "application/json", 400, ""),
        (b'{"cordoned": true, "cordoned": false}', "application/json", 400, "'cordoned' stands twice"),
        (b'{"cordoned": 1e999}', "application/json", 400, ""),
        (b'{"cordoned": ' + b"9" * 100_000 + b"}", "application/json", 400, ""),
        (b'"' + b"x" * API_BODY_MAX + b'"', "application/json", 413, "longer than"),
    ],
)
async def test_bodies_that_are_refused(body: bytes, kind: str, status: int, words: str) -> None:
    async with running_router() as router:
        portal = Portal(router.control_port)
        answer = await portal.ask("PATCH", "/v1/agents/unknown", body, [("Content-Type", kind)])
        assert answer.status == status, answer
        assert words in answer.json["detail"], answer


async def test_a_request_without_a_body() -> None:
    async with running_router() as router:
        answer = await Portal(router.control_port).ask("PATCH", "/v1/agents/unknown", headers=[JSON])
        assert answer.status == 400


@pytest.mark.parametrize(
    ("shape", "value", "words"),
    [
        (text(3), "abcd", "x must have at most 3 bytes, not 4"),
        (text(3), "\u00e9\u00e9", "x must have at most 3 bytes, not 4"),
        (text(least=1), "", "x must not be empty"),
        (boolean, 1, "x must be true or false, not 1"),
        (integer(0, 3), True, "x must be an integer from 0 to 3, not True"),
        (integer(0, 3), 1.0, "x must be an integer"),
        (number(0, 3), 3.5, "x must be a number from 0 to 3, not 3.5"),
        (nullable(boolean), 1, "x must be true"),
        (one_of("a", "b"), ["a"], "x must be one of a, b, not"),
        (list_of(boolean, most=1), [True, True], "x must have 0 to 1 entries, not 2"),
        (list_of(list_of(boolean)), [[True, 1]], "x[0][1] must be true"),
        (map_of(boolean, most=1), {"a": True, "b": True}, "x must have at most 1 entries, not 2"),
        (map_of(map_of(boolean)), {"a": {"b": 1}}, "x.a.b must be true"),
        (mapping({"a": boolean}), {"b": True}, "x.a is missing"),
        (mapping({}, {"a": boolean}), {"b" * 1000: True}, "x has the unknown name 'bbb"),
    ],
)
def test_the_error_names_the_place(shape: object, value: object, words: str) -> None:
    assert callable(shape)
    with pytest.raises(RequestRefusedError) as caught:
        shape("x", value)
    assert caught.value.status == 400
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300
