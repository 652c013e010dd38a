"""What the loop reports of a shortage is one line; anything else is told in full."""

from __future__ import annotations

import asyncio
import errno

import pytest

from pagent.net.shortage import tell_shortages_once


async def test_one_line_for_a_shortage(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    tell_shortages_once(loop)
    error = OSError(errno.EMFILE, "Too many open files")
    for _ in range(100):
        loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": error})
    assert [record.getMessage() for record in caplog.records] == [
        "socket.accept() out of system resource: Too many open files"
    ]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), ValueError("broken"), None])
async def test_the_rest_is_told_as_ever(loop_errors: list[str], error: Exception | None) -> None:
    loop = asyncio.get_running_loop()
    tell_shortages_once(loop)
    for _ in range(2):
        context = {"message": "what happened"} | ({"exception": error} if error else {})
        loop.call_exception_handler(context)
    assert [text.partition("\n")[0] for text in loop_errors] == ["what happened"] * 2
    loop_errors.clear()
