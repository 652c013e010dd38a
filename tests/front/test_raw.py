"""Agents of ours that answer as none should: what a client then gets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.front.test_field import TARGET, scripted_front
from tests.front.test_user import post
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
