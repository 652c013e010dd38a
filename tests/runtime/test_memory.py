"""The count of buffered bytes, and its limit."""

from __future__ import annotations

import pytest

from pagent.limits import BUFFERS_LEAST, MIB
from pagent.runtime.memory import BUFFERS_RESERVE, BufferMemory, current_memory, default_limit


@pytest.mark.parametrize("limit", [MIB, 64 * MIB, 1024 * MIB])
async def test_it_is_full_before_the_limit_by_what_is_not_counted(limit: int) -> None:
    memory = BufferMemory()
    memory.set_limit(limit)
    most = limit - min(BUFFERS_RESERVE, 5 * limit // 8)
    assert memory.recount(0, most) == most
    assert not memory.is_full
    assert memory.recount(0, 1) == 1
    assert memory.is_full
    assert memory.recount(1, 0) == 0
    assert not memory.is_full
    memory.change(1)
    assert memory.is_full
    assert memory.recount(most, 0) == 0
    assert memory.used == 1


async def test_a_loop_has_one_count_and_a_limit_from_the_start() -> None:
    assert current_memory() is current_memory()
    assert default_limit() >= BUFFERS_LEAST
