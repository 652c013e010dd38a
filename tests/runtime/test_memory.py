"""What buffers count, and when that is enough."""

from __future__ import annotations

import pytest

from pagent.limits import BUFFERS_LEAST, MIB
from pagent.runtime.memory import BUFFERS_RESERVE, BufferMemory, Held, current_memory, default_limit


@pytest.mark.parametrize("limit", [MIB, 64 * MIB, 1024 * MIB])
async def test_it_is_full_before_the_limit_by_what_is_not_counted(limit: int) -> None:
    memory = BufferMemory()
    memory.set_limit(limit)
    first, second = Held(memory), Held(memory)
    first.set(limit - min(BUFFERS_RESERVE, 5 * limit // 8))
    assert not memory.is_full
    second.set(1)
    assert memory.is_full
    second.set(0)
    assert not memory.is_full
    memory.change(1)
    assert memory.is_full
    first.set(0)
    assert memory.used == 1


async def test_a_loop_has_one_count_and_a_limit_from_the_start() -> None:
    assert current_memory() is current_memory()
    assert default_limit() >= BUFFERS_LEAST
