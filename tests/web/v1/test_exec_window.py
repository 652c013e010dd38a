from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.errors import ProtocolError
from pagent.web.v1.exec_window import OutputWindow


def has_room(window: OutputWindow) -> bool:
    """Return whether :meth:`until_room` returns at once."""
    waiting = window.until_room()
    try:
        waiting.send(None)
    except StopIteration:
        return True
    finally:
        waiting.close()
    return False


@given(st.integers(1, 100), st.lists(st.integers(-60, 60)))
def test_there_is_room_below_the_size(size: int, steps: list[int]) -> None:
    async def check() -> None:
        window, unacknowledged = OutputWindow(size), 0
        for step in steps:
            if step >= 0:
                window.sent(step)
                unacknowledged += step
            elif -step <= unacknowledged:
                window.acknowledge(-step)
                unacknowledged += step
            else:
                with pytest.raises(ProtocolError, match="ack is the number"):
                    window.acknowledge(-step)
            assert has_room(window) is (unacknowledged < size)

    asyncio.run(check())


@pytest.mark.parametrize("count", [0, -1, 6, 2**63])
async def test_an_acknowledgement_of_what_was_not_sent_changes_nothing(count: int) -> None:
    window = OutputWindow(5)
    window.sent(5)
    with pytest.raises(ProtocolError):
        window.acknowledge(count)
    assert not has_room(window)
    window.acknowledge(5)
    assert has_room(window)


async def test_a_client_that_does_not_acknowledge_is_never_waited_for() -> None:
    window = OutputWindow(None)
    window.sent(2**40)
    assert has_room(window)
    with pytest.raises(ProtocolError):
        window.acknowledge(1)
