"""One object for each event loop."""

from __future__ import annotations

import asyncio
import gc
from weakref import ref

import pytest

from pagent.runtime.per_loop import PerLoop


class Thing:
    """An object that weak references may be made to."""


def test_each_loop_has_its_own_object_which_ends_with_it() -> None:
    things = PerLoop(Thing)

    async def current() -> Thing:
        assert things.current() is things.current()
        return things.current()

    first, second = asyncio.run(current()), asyncio.run(current())
    assert first is not second
    kept = ref(first)
    del first
    gc.collect()
    assert kept() is None


def test_without_a_loop_there_is_none() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        PerLoop(Thing).current()
