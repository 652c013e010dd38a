"""Agents of ours that answer as none should: what a client then gets."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client.link import connect
from pagent.front.raw import RawExchange
from pagent.front.routes import JobTarget
from pagent.http1.incoming import IncomingHead
from pagent.limits import RESPONSE_HEAD_MAX
from pagent.runtime.memory import current_memory
from pagent.wire import identity
from tests.front.job import start_job
from tests.front.test_field import TARGET, scripted_front
from tests.front.test_user import chunked, get, post
from tests.kit.agents import TOKEN
from tests.kit.directory import Front, KnownAgent, KnownJobs, running_front
from tests.kit.transfers import eventually
from tests.kit.wire import wire


@pytest.mark.parametrize(
    "answer",
    [
        [101, [["Upgrade", "x"]]],
        [100, [], 101, [["Upgrade", "x"]]],
        [99, [], 200, []],
        [600, []],
        [-1, []],
        [True, []],
    ],
)
async def test_answers_that_are_none(answer: list[Any]) -> None:
    async with scripted_front(is_ours=True) as (front, script), wire(front.port) as client:
        script.answer = answer
        got = await client.ask(post(f"{TARGET}/", b"body"))
        assert (got.status, got.body[:13]) == (502, b"Proxy error:\n")


@pytest.mark.parametrize(
    "block",
    [
        b"", b"200", b"200\r\n", b"200\r\na: b\r\n", b"20\r\na: b\r\n\r\n", b"200 OK\r\na: b\r\n\r\n", b"600\r\n\r\n",
        b"099\r\n\r\n", b"+20\r\n\r\n", b"200\r\na: b\nc: d\r\n\r\n", b"200\r\nContent-Length: x\r\n\r\n",
        b"101\r\n\r\n", b"200\r\na: " + bytes(RESPONSE_HEAD_MAX), b"100\r\n\r\n200\r\n\r\n", 5000 * b"100\r\n\r\n",
    ],
)  # fmt: skip
async def test_blocks_that_are_no_head(block: bytes) -> None:
    async with scripted_front(is_ours=True) as (front, script), wire(front.port) as client:
        script.answer = [block]
        got = await client.ask(post(f"{TARGET}/", b"body"))
        assert (got.status, got.body[:13]) == (502, b"Proxy error:\n")


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_head_in_lines_may_come_in_pieces(size: int) -> None:
    """A message is cut where memory is short."""
    head = b"200\r\nContent-Length: 2\r\nX-A: 1\r\n\r\n"
    async with scripted_front(is_ours=True) as (front, script), wire(front.port) as client:
        script.answer = [b"103\r\nlink: y\r\n\r\n", *(head[at : at + size] for at in range(0, len(head), size)), b"hi"]
        client.say(post(f"{TARGET}/", b"body"))
        assert await client.head() == (103, [("link", "y")])
        got = await client.answer()
        assert (got.status, got.fields, got.body) == (200, [("Content-Length", "2"), ("X-A", "1")], b"hi")


HEAD = b"200\r\nContent-Length: 4\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ([HEAD + b"body"], None),
        ([HEAD + b"bo", b"dy"], None),
        ([HEAD], b"body"),
        ([HEAD + b"bo"], b"dy"),
        ([HEAD + b"body"], b""),
        ([], HEAD + b"body"),
        ([b"103\r\n\r\n"], HEAD + b"body"),
        ([HEAD[:9]], HEAD[9:] + b"body"),
    ],
)
async def test_the_last_part_of_an_answer_may_be_the_result(answer: list[Any], result: bytes | None) -> None:
    async with scripted_front(is_ours=True) as (front, script), wire(front.port) as client:
        script.answer, script.result = answer, result
        for _ in range(2):
            client.say(post(f"{TARGET}/", b"body"))
            if answer[:1] == [b"103\r\n\r\n"]:
                assert (await client.head())[0] == 103
            got = await client.answer()
            assert (got.status, got.fields, got.body) == (200, [("Content-Length", "4")], b"body")


@pytest.mark.parametrize(
    "result",
    [
        b"200\r\na: b\r\n", b"x", b"", HEAD + b"more than four", HEAD + b"two", b"103\r\n\r\n" + HEAD + b"body",
        5000 * b"100\r\n\r\n", 1, "200\r\n\r\n", [200, []], {"status": 200},
    ],
)  # fmt: skip
async def test_results_that_are_no_answer(result: Any) -> None:
    async with scripted_front(is_ours=True) as (front, script), wire(front.port) as client:
        script.result = result
        client.say(post(f"{TARGET}/", b"body"))
        if result == HEAD + b"two":
            assert (await client.rest()).endswith(b"\r\n\r\ntwo")
        else:
            assert (await client.answer()).status == 502


UPGRADE = ("Connection: Upgrade", "Upgrade: mine/2")
SWITCH = b"101\r\nConnection: Upgrade\r\nUpgrade: mine/2\r\n\r\n"


@pytest.mark.parametrize(("answer", "result"), [([], SWITCH), ([SWITCH[:9]], SWITCH[9:]), ([SWITCH + b"data"], None)])
async def test_a_101_is_a_message_of_its_own(answer: list[Any], result: bytes | None) -> None:
    async with scripted_front(is_ours=True) as (front, script), wire(front.port) as client:
        script.answer, script.result = answer, result
        client.say(post(f"{TARGET}/", b"body", *UPGRADE))
        assert (await client.answer()).status == 502


@pytest.mark.parametrize("head", [b"200\r\n\r\n", SWITCH])
async def test_a_client_that_goes_without_reading_leaves_no_counted_memory(head: bytes) -> None:
    async with scripted_front(is_ours=True) as (front, script), wire(front.port) as client:
        memory = current_memory()
        before = memory.used
        script.answer = [head, *(bytes(60_000) for _ in range(200))]
        client.say(post(f"{TARGET}/", b"body", *UPGRADE))
        await client.head()
        assert front.jobs.link is not None
        calls = front.jobs.link.connection.outgoing
        await eventually(lambda: not calls)  # the agent has ended the call: what is left of the answer is kept here
        assert memory.used > before
        client.reset()
        await eventually(lambda: memory.used == before)


async def test_an_agent_without_the_extension_lines(agent: Agent) -> None:
    async with (
        connect(f"127.0.0.1:{agent.rpc_port}", token=TOKEN, extensions=(identity.FLOW,)) as connection,
        running_front(KnownJobs(KnownAgent(connection.connection))) as front,
        wire(front.port) as client,
    ):
        job = await start_job(connection)
        answer = await client.ask(get(f"{job}/head", "X-A: 1", "Connection: x-b", "X-B: 2"))
        assert (answer.status, answer.body.count(b"X-A: 1\r\n"), answer.body.count(b"X-B")) == (200, 1, 0)
        answer = await client.ask(chunked(f"{job}/trailers", b"abc", trailers=b"X-Sum: 1\r\n"))
        assert answer.body == b"X-Sum: 1\r\n"
        client.say(get(f"{job}/interim"))
        assert (await client.head())[0] == 103
        assert (await client.answer()).body == b"hi"
        client.say(get(f"{job}/echo", "Connection: Upgrade", "Upgrade: mine/2"))
        assert (await client.head())[0] == 101


def parts_of_requests() -> list[object]:
    # Not isinstance: a weak proxy has no class once its object is gone.
    kinds = (IncomingHead, JobTarget, RawExchange)
    return [each for each in gc.get_objects() if issubclass(type(each), kinds)]


async def test_a_tunnel_keeps_nothing_of_its_request(front: Front, job: str) -> None:
    before = parts_of_requests()  # those of other tests
    async with wire(front.port) as client:
        client.say(get(f"{job}/echo", "Connection: Upgrade", "Upgrade: mine/2"))
        assert (await client.head())[0] == 101
        front.gate.judged.clear()
        gc.collect()
        assert [each for each in parts_of_requests() if all(each is not other for other in before)] == []
