"""Both kinds of exchanges: the framing of an answer, whatever an agent sends, and what a failed call becomes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagent.errors import CallCancelledError, LinkClosedError, MethodError, RequestRefusedError
from pagent.front.exchange import refusal_of
from tests.front.test_field import TARGET, scripted_front
from tests.kit.wire import Answer, wire

KINDS = pytest.mark.parametrize("is_ours", [True, False])


def request(*fields: str, method: str = "POST", minor: int = 1) -> bytes:
    lines = [f"{method} {TARGET}/ HTTP/1.{minor}", "Host: h", "Content-Length: 1", *fields, "", "x"]
    return "\r\n".join(lines).encode()


async def answered(is_ours: bool, answer: list[Any], asked: bytes) -> tuple[Answer, Answer]:
    """Return the answer to a request, and that to the next one of the same connection."""
    async with scripted_front(is_ours=is_ours) as (front, script), wire(front.port) as client:
        script.answer = answer
        first = await client.ask(asked)
        script.answer = [200, [["Content-Length", "4"]], b"next"]
        return first, await client.ask(request())


@KINDS
async def test_an_empty_piece_does_not_end_a_body(is_ours: bool) -> None:
    for pieces in ([b"", b"abc", b"", b"", b"de", b""], [b"", b"abcde"]):
        first, second = await answered(is_ours, [200, [], *pieces], request())
        assert (first.body, first.value("Transfer-Encoding"), second.body) == (b"abcde", "chunked", b"next")
        first, second = await answered(is_ours, [200, [["Content-Length", "5"]], *pieces], request())
        assert (first.body, second.body) == (b"abcde", b"next")


@KINDS
async def test_no_field_of_an_agent_frames_the_answer(is_ours: bool) -> None:
    hop = [["Transfer-Encoding", "chunked"], ["Connection", "close"], ["Keep-Alive", "timeout=1"]]
    first, second = await answered(is_ours, [200, [*hop, ["Content-Length", "2"]], b"hi"], request())
    assert (first.fields, first.body, second.body) == ([("Content-Length", "2")], b"hi", b"next")
    first, second = await answered(is_ours, [200, hop, b"hi"], request())
    assert (first.fields, first.body, second.body) == ([("Transfer-Encoding", "chunked")], b"hi", b"next")
    two = [["Content-Length", "2"], ["Content-Length", "3"]]
    first, second = await answered(is_ours, [200, two, b"hi"], request())
    assert (first.status, second.body) == (502, b"next")
    assert b"the agent's answer is not valid" in first.body


@KINDS
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=40), cuts=st.lists(st.integers(0, 40), max_size=6), has_length=st.booleans())
async def test_every_split_of_a_body(is_ours: bool, body: bytes, cuts: list[int], has_length: bool) -> None:
    places = sorted({0, len(body), *(cut for cut in cuts if cut <= len(body))})
    pieces = [body[start:end] for start, end in pairwise(places)]
    fields = [["Content-Length", str(len(body))]] if has_length else []
    first, second = await answered(is_ours, [200, fields, *pieces], request())
    assert (first.status, first.body, second.body) == (200, body, b"next")


@KINDS
@pytest.mark.parametrize(("pieces", "received"), [([b"123", b"456"], b"123"), ([b"1234"], b"1234")])
async def test_a_body_of_another_length_is_cut_off(is_ours: bool, pieces: list[bytes], received: bytes) -> None:
    """No byte beyond its length is sent, and the connection serves no further request."""
    async with scripted_front(is_ours=is_ours) as (front, script), wire(front.port) as client:
        script.answer = [200, [["Content-Length", "5"]], *pieces]
        client.say(request() + request())
        _, fields = await client.head()
        assert fields == [("Content-Length", "5")]
        assert await client.reader.readexactly(len(received)) == received
        assert await client.is_closed()


@KINDS
async def test_a_first_piece_that_is_too_long_is_refused(is_ours: bool) -> None:
    first, second = await answered(is_ours, [200, [["Content-Length", "5"]], b"123456"], request())
    assert (first.status, second.body) == (502, b"next")
    assert b"the agent sent more than the answer's Content-Length" in first.body


@KINDS
@pytest.mark.parametrize(
    ("asked", "status"), [(request(method="HEAD"), 200), (request(), 204), (request(), 304)], ids=["HEAD", "204", "304"]
)
async def test_an_answer_without_a_body(is_ours: bool, asked: bytes, status: int) -> None:
    """Its length is that of another answer (RFC 9112 6.3)."""
    first, second = await answered(is_ours, [status, [["ETag", '"5"']]], asked)
    assert (first.status, first.fields, first.body, second.body) == (status, [("ETag", '"5"')], b"", b"next")


@KINDS
@pytest.mark.parametrize(
    ("minor", "fields", "length", "connection"),
    [
        (1, ("Connection: close",), True, "close"),
        (1, (), True, None),
        (0, (), True, "close"),
        (0, ("Connection: keep-alive",), True, "keep-alive"),
        (0, ("Connection: keep-alive",), False, "close"),
    ],
)
async def test_whether_the_connection_is_kept(
    is_ours: bool, minor: int, fields: tuple[str, ...], length: bool, connection: str | None
) -> None:
    async with scripted_front(is_ours=is_ours) as (front, script), wire(front.port) as client:
        script.answer = [200, [["Content-Length", "2"]] if length else [], b"hi"]
        answer = await client.ask(request(*fields, minor=minor))
        assert (answer.value("Connection"), answer.value("Transfer-Encoding")) == (connection, None)
        assert answer.body == b"hi"
        if connection == "close":
            assert await client.is_closed()
        else:
            assert (await client.ask(request())).body == b"hi"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (RequestRefusedError(503, "the agent is away", retry_after_s=2), 503, "the agent is away"),
        (LinkClosedError(1006, "any"), 502, "the link to the agent was lost"),
        (CallCancelledError("the agent sent nonsense"), 502, "the agent sent nonsense"),
        (MethodError("text", "ValueError", "why"), 502, "why"),
        (ZeroDivisionError("a fault of ours"), 502, "the call failed"),
    ],
)
def test_the_answer_to_a_call_that_has_failed(error: Exception, status: int, text: str) -> None:
    refusal = refusal_of(error)
    assert (refusal.status, str(refusal)) == (status, text)
