"""The end of an iteration of the event loop: all actions are called, once and in order."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

from pagent.buffers import Bytes
from pagent.net.link.batch import WriteBatch
from pagent.runtime.iteration import IterationEnd, current_iteration
from tests.kit.short_loop import ShortLoop, fail_for_memory


class Calls:
    """Makes actions that note their names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def action(self, name: str) -> Callable[[], None]:
        return lambda: self.names.append(name)


def batch(calls: Calls, name: str) -> WriteBatch:
    """Return a batch that notes its name when it writes, or fails then."""

    def write(_buffers: list[Bytes], _large: bool) -> None:
        if name == "fails":
            fail()
        calls.names.append(name)

    return WriteBatch(write)


def fail() -> None:
    raise RuntimeError("an action that fails")


async def iteration() -> None:
    await asyncio.sleep(0)


async def test_actions_are_called_once_in_order() -> None:
    end, calls = IterationEnd(), Calls()
    end.call(calls.action("a"))
    end.call(calls.action("b"))
    assert calls.names == []
    await iteration()
    assert calls.names == ["a", "b"]
    await iteration()
    assert calls.names == ["a", "b"]


async def test_an_action_of_an_action_is_called_in_the_next_iteration() -> None:
    end, calls = IterationEnd(), Calls()

    def again() -> None:
        end.call(calls.action("next"))

    end.call(again)
    end.call(calls.action("this"))
    await iteration()
    assert calls.names == ["this"]
    await iteration()
    assert calls.names == ["this", "next"]


async def test_an_action_that_raises_keeps_no_other_from_being_called() -> None:
    end, calls = IterationEnd(), Calls()
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    end.call(calls.action("a"))
    end.call(fail)
    end.call(calls.action("b"))
    end.call(fail)
    end.call(calls.action("c"))
    for _ in range(3):
        await iteration()
    assert calls.names == ["a", "b", "c"]
    assert [str(context["exception"]) for context in reported] == ["an action that fails"] * 2


def test_a_call_without_memory_for_its_handle_keeps_no_later_one_from_being_called() -> None:
    calls = Calls()

    async def use() -> None:
        fail_for_memory(lambda: current_iteration().call(calls.action("a")))
        current_iteration().call(calls.action("b"))
        await iteration()

    with asyncio.Runner(loop_factory=ShortLoop) as runner:
        runner.run(use())
    assert calls.names == ["b"]


async def test_what_a_read_gathers_is_written_when_the_read_ends() -> None:
    end, calls = current_iteration(), Calls()
    batch(calls, "before").put(b"1")
    end.read_begins()
    one, other = batch(calls, "a"), batch(calls, "b")
    one.put(b"2")
    other.put(b"3")
    one.put(b"4")
    assert calls.names == []
    end.read_ends()
    assert calls.names == ["a", "b"]
    one.put(b"5")
    end.read_ends()
    assert calls.names == ["a", "b"]
    await iteration()
    assert calls.names == ["a", "b", "before", "a"]


async def test_what_is_gathered_by_the_writes_of_a_read_is_written_in_this_iteration() -> None:
    end, calls = current_iteration(), Calls()
    later = batch(calls, "later")
    end.read_begins()
    WriteBatch(lambda _buffers, _large: later.put(b"2")).put(b"1")
    end.read_ends()
    assert calls.names == []
    await iteration()
    assert calls.names == ["later"]


async def test_a_write_that_fails_is_reported_and_costs_neither_the_read_nor_other_writes() -> None:
    end, calls = current_iteration(), Calls()
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    end.read_begins()
    for name in ("a", "fails", "b"):
        batch(calls, name).put(b"1")
    end.read_ends()
    await iteration()
    assert calls.names == ["a", "b"]
    assert [str(context["exception"]) for context in reported] == ["an action that fails"]


async def test_a_loop_has_one_end() -> None:
    assert current_iteration() is current_iteration()

    def other() -> IterationEnd:
        async def current() -> IterationEnd:
            return current_iteration()

        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(current())

    assert await asyncio.to_thread(other) is not current_iteration()


def test_the_end_of_a_loop_does_not_keep_the_loop() -> None:
    async def use() -> weakref.ref[asyncio.AbstractEventLoop]:
        current_iteration().call(lambda: None)
        return weakref.ref(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        used = runner.run(use())
    del runner
    gc.collect()
    assert used() is None
