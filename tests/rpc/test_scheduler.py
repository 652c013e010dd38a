"""The order of streams on a congested link: small before bulk, bulk in turns by bytes, a turn for every stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from pagent.rpc.scheduler import AHEAD_BYTES, QUANTUM_BYTES, SMALL_BYTES, Scheduler
from pagent.rpc.stream import Stream
from pagent.wire import messages
from tests.kit.joined import Joined


class WaitingStream:
    """A stream with messages of given sizes; ``log`` has the messages that all have sent, in order."""

    def __init__(self, name: str, log: list[tuple[str, int]], *sizes: int) -> None:
        self.name = name
        self.deficit = 0
        self.queue = deque(sizes)
        self.refill: Callable[[], None] = lambda: None
        self._log = log

    @property
    def queued_bytes(self) -> int:
        return sum(self.queue)

    def send_one(self) -> int:
        size = self.queue.popleft()
        self._log.append((self.name, size))
        self.refill()
        return size


def rig(**streams: list[int]) -> tuple[Scheduler, dict[str, WaitingStream], list[tuple[str, int]]]:
    """A scheduler in which some streams wait, in this order, and the log of their messages."""
    log: list[tuple[str, int]] = []
    scheduler = Scheduler()
    waiting = {name: WaitingStream(name, log, *sizes) for name, sizes in streams.items()}
    for stream in waiting.values():
        scheduler.add(stream)
    return scheduler, waiting, log


def sent_by(log: list[tuple[str, int]], name: str) -> int:
    return sum(size for sender, size in log if sender == name)


def test_none_waits() -> None:
    assert Scheduler().send_next() is False
    assert len(Scheduler()) == 0


def test_small_go_first_in_the_order_in_which_they_came() -> None:
    scheduler, _, log = rig(bulk=[SMALL_BYTES + 1], one=[10, 20], other=[SMALL_BYTES], last=[1])
    assert len(scheduler) == 4
    while scheduler.send_next():
        pass
    assert [name for name, _ in log] == ["one", "one", "other", "last", "bulk"]
    assert len(scheduler) == 0


def test_a_stream_that_has_grown_meanwhile_is_small_no_more() -> None:
    scheduler, streams, log = rig(grown=[10], small=[10])
    streams["grown"].queue.append(SMALL_BYTES)
    while scheduler.send_next():
        pass
    assert [name for name, _ in log] == ["small", "grown", "grown"]


def test_access_send_nothing_is_forgotten() -> None:
    """Until it is added again, as a stream does whose credit comes."""
    scheduler, streams, log = rig(small=[10], bulk=[SMALL_BYTES * 2])
    for stream in streams.values():
        stream.queue.clear()
    while scheduler.send_next():
        pass
    assert log == []
    assert len(scheduler) == 0


def test_a_message_above_a_quantum_is_paid_for() -> None:
    """Its sender waits for as many turns as it has overdrawn."""
    scheduler, _, log = rig(large=[5 * QUANTUM_BYTES] * 3, pieces=[QUANTUM_BYTES // 2] * 30)
    while sent_by(log, "large") < 10 * QUANTUM_BYTES:
        scheduler.send_next()
    assert sent_by(log, "pieces") == 5 * QUANTUM_BYTES


def test_small_ones_without_end_leave_a_fifth() -> None:
    scheduler, streams, log = rig(bulk=[QUANTUM_BYTES // 4] * 64, one=[1000], other=[SMALL_BYTES])
    for name, size in (("one", 1000), ("other", SMALL_BYTES)):
        streams[name].refill = lambda queue=streams[name].queue, size=size: queue.append(size)  # type: ignore[misc]
    while sum(size for _, size in log) < 5 * AHEAD_BYTES:
        assert scheduler.send_next()
    assert sent_by(log, "bulk") >= AHEAD_BYTES - QUANTUM_BYTES
    assert sent_by(log, "one") >= 3 * AHEAD_BYTES


def test_streams_sent_first_while_none_waits_are_not_counted() -> None:
    scheduler, streams, log = rig(one=[SMALL_BYTES])
    streams["one"].refill = lambda: streams["one"].queue.append(SMALL_BYTES)
    while sent_by(log, "one") < 4 * AHEAD_BYTES:
        scheduler.send_next()
    scheduler.add(WaitingStream("bulk", log, QUANTUM_BYTES))
    scheduler.send_next()
    assert log[-1][0] == "one"


@given(st.lists(st.lists(st.integers(1, 200_000), min_size=1, max_size=30), min_size=1, max_size=8))
def test_any_streams(sizes: list[list[int]]) -> None:
    """Each sends all it has, in order. While two have bulk to send, they differ by at most what a turn may overdraw."""
    scheduler, _, log = rig(**{str(number): queue for number, queue in enumerate(sizes)})
    left = {str(number): sum(queue) for number, queue in enumerate(sizes)}
    bulk = {name for name, size in left.items() if size > SMALL_BYTES}
    sent = dict.fromkeys(left, 0)
    order = []
    seen = 0
    while scheduler.send_next():
        for name, size in log[seen:]:
            left[name] -= size
            sent[name] += size
            order.append(name)
        seen = len(log)
        bulk = {name for name in bulk if left[name]}
        shares = [sent[name] for name in bulk]
        assert not shares or max(shares) - min(shares) <= 2 * (QUANTUM_BYTES + 200_000)
    for number, queue in enumerate(sizes):
        assert [size for name, size in log if name == str(number)] == queue
    small = [str(number) for number, queue in enumerate(sizes) if sum(queue) <= SMALL_BYTES]
    if sum(sum(sizes[int(name)]) for name in small) < AHEAD_BYTES:
        assert list(dict.fromkeys(order))[: len(small)] == small
    assert len(scheduler) == 0


class Floods:
    """A receiver that sends whenever it may."""

    def __init__(self, stream: Stream, messages_left: int) -> None:
        self._stream = stream
        self.left = messages_left
        stream.attach(self)

    def stream_message(self, value: object) -> None:
        raise AssertionError("nothing is sent to it")

    def stream_closed(self) -> None:
        raise AssertionError("nothing is sent to it")

    def stream_blocked(self) -> None:
        pass

    def stream_writable(self) -> None:
        while self.left and not self._stream.blocked:
            self.left -= 1
            self._stream.send(bytes(60_000))

    def stream_lost(self, reason: str) -> None:
        self.left = 0


async def test_a_stream_that_sends_whenever_it_may_waits_once() -> None:
    joined = Joined({}, flow=False)
    await joined.settle()
    calls = [joined.dialled.start_call(messages.OSTREAM, "none", [], {}) for _ in range(3)]
    floods = [Floods(call.stream, 60) for call in calls if call.stream is not None]
    for flood in floods:
        flood.stream_writable()
    scheduler = joined.dialled.scheduler
    most = 0
    while any(flood.left for flood in floods):
        joined.transports[0].move(50_000)
        await asyncio.sleep(0)  # the other end has its time slice
        most = max(most, len(scheduler))
    assert most == len(floods)
    await joined.close()


def test_where_bulk_is_held_only_small_ones_go() -> None:
    scheduler, waiting, log = rig(bulk=[SMALL_BYTES + 1], one=[10], other=[SMALL_BYTES] * 40)
    while scheduler.send_next(bulk=False):
        waiting["one"].queue.extend([10] if len(log) < 100 else [])
    assert {name for name, _ in log} == {"one"} | ({"other"} if sent_by(log, "other") else set())
    assert sent_by(log, "bulk") == 0
    while scheduler.send_next():
        pass
    assert sent_by(log, "bulk") == SMALL_BYTES + 1
