"""The push of a stream into an upload: who waits while the disk is behind, and for how long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pagent import limits
from pagent.agent import Agent
from pagent.errors import CallCancelledError
from pagent.service.intake import Intake
from tests.kit.ends import HandLoop
from tests.kit.peer import OSTREAM, Peer
from tests.kit.transfers import eventually, new_job

MIB = 1024 * 1024


class Fakes:
    """A call with its stream and its link, and an upload; they only note what is done to them."""

    def __init__(self, *, flow: bool) -> None:
        # the link and the stream
        self.chokes = 0
        self.held = False
        self.kept: list[Any] = []
        # the upload
        self.behind = 0
        self.error: BaseException | None = None
        self.moved: Callable[[], None] | None = None
        self.given: list[bytes] = []
        link = SimpleNamespace(choke=self.choke)
        self.call: Any = SimpleNamespace(stream=self, connection=SimpleNamespace(link=link, flow=flow, holes=flow))
        self.intake = Intake(self.call, self)  # type: ignore[arg-type]
        self.finished = asyncio.ensure_future(self.intake.finished())

    def choke(self, on: bool) -> None:
        self.chokes += 1 if on else -1

    def attach(self, receiver: Any, *, splits: bool = False) -> None:
        assert self.held is False

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False
        while self.kept and not self.held:
            self.intake.stream_message(self.kept.pop(0))

    def give(self, data: bytes) -> int:
        self.given.append(data)
        self.behind += len(data)
        return self.behind

    @property
    def buffered(self) -> int:
        return self.behind

    def written(self, size: int) -> None:
        self.behind -= size
        assert self.moved is not None
        self.moved()


async def test_a_link_without_flow_control_is_choked_until_half_is_written() -> None:
    fakes = Fakes(flow=False)
    half = limits.DISK_BEHIND // 2
    for _ in range(3):
        fakes.intake.stream_message(bytes(half))
    assert (fakes.chokes, fakes.held) == (1, False)  # the third had been read already
    fakes.written(half)
    assert fakes.chokes == 1
    fakes.written(half)
    assert fakes.chokes == 0
    fakes.intake.stream_closed()
    await fakes.finished
    assert len(fakes.given) == 3


async def test_what_comes_out_of_a_spool_while_the_link_is_choked_is_held_as_well() -> None:
    fakes = Fakes(flow=False)
    hand = fakes.intake._loop = HandLoop()  # type: ignore[assignment]
    fakes.intake.stream_message(bytes(limits.DISK_BEHIND))
    fakes.kept = [bytes(MIB)] * 10
    fakes.release()
    assert (fakes.chokes, fakes.held) == (1, True)
    assert fakes.behind == 2 * limits.DISK_BEHIND
    hand.advance(limits.DISK_CHOKE_MAX_S)
    assert (fakes.chokes, fakes.held) == (0, True)
    while fakes.behind:
        fakes.written(MIB)
    assert (fakes.kept, fakes.held) == ([], False)
    fakes.intake.stream_closed()
    await fakes.finished


async def test_in_vain_it_is_let_go_and_the_stream_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DISK_CHOKE_MAX_S", 0.0)
    fakes = Fakes(flow=False)
    fakes.intake.stream_message(bytes(limits.DISK_BEHIND))
    await eventually(lambda: fakes.chokes == 0)
    assert fakes.held
    fakes.kept = [b"one", b"two"]
    fakes.written(limits.DISK_BEHIND)
    assert fakes.given[1:] == [b"one", b"two"]
    assert (fakes.chokes, fakes.held) == (0, False)
    fakes.intake.stream_closed()
    await fakes.finished


async def test_the_link_is_read_for_as_long_as_it_was_not() -> None:
    fakes = Fakes(flow=False)
    hand = fakes.intake._loop = HandLoop()  # type: ignore[assignment]
    fill = bytes(limits.DISK_BEHIND)
    fakes.intake.stream_message(fill)
    hand.advance(0.005)
    fakes.written(len(fill))
    assert fakes.chokes == 0
    hand.advance(0.004)
    fakes.intake.stream_message(fill)
    assert (fakes.chokes, fakes.held) == (0, True)
    fakes.written(len(fill))
    assert not fakes.held
    hand.advance(0.002)
    fakes.intake.stream_message(fill)
    assert (fakes.chokes, fakes.held) == (1, False)
    fakes.intake.stream_lost("")
    with pytest.raises(CallCancelledError):
        await fakes.finished


async def test_a_slow_disk_is_not_waited_for_again_soon() -> None:
    fakes = Fakes(flow=False)
    hand = fakes.intake._loop = HandLoop()  # type: ignore[assignment]
    fill = bytes(limits.DISK_BEHIND)
    fakes.intake.stream_message(fill)
    hand.advance(limits.DISK_CHOKE_MAX_S)
    assert (fakes.chokes, fakes.held) == (0, True)
    for wait_s, chokes in ((0.9 * limits.DISK_CHOKE_REST_S, 0), (0.2 * limits.DISK_CHOKE_REST_S, 1)):
        fakes.written(len(fill))
        hand.advance(wait_s)
        fakes.intake.stream_message(fill)
        assert (fakes.chokes, fakes.held) == (chokes, not chokes)
    fakes.intake.stream_lost("")
    with pytest.raises(CallCancelledError):
        await fakes.finished


async def test_a_peer_with_flow_control_gets_no_more_credit() -> None:
    fakes = Fakes(flow=True)
    fakes.intake.stream_message(bytes(limits.DISK_BEHIND))
    assert (fakes.chokes, fakes.held) == (0, True)
    fakes.kept = [bytes(limits.DISK_BEHIND), b"last"]
    fakes.written(limits.DISK_BEHIND)
    assert fakes.held, "held again by the first of what was kept"
    assert fakes.kept == [b"last"]
    fakes.written(limits.DISK_BEHIND)
    assert not fakes.held
    fakes.intake.stream_closed()
    await fakes.finished


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), None])
async def test_an_end_lets_the_link_go(error: OSError | None) -> None:
    fakes = Fakes(flow=False)
    fakes.intake.stream_message(bytes(limits.DISK_BEHIND))
    assert fakes.chokes == 1
    if error is None:
        fakes.intake.stream_lost("the link is gone")
    else:
        fakes.error = error
        fakes.written(0)
    assert fakes.chokes == 0
    fakes.intake.stream_message(b"more")
    assert len(fakes.given) == 1
    with pytest.raises(CallCancelledError if error is None else OSError):
        await fakes.finished
    assert fakes.moved is None


async def test_cancelled_it_lets_the_link_go() -> None:
    fakes = Fakes(flow=False)
    await asyncio.sleep(0)
    fakes.intake.stream_message(bytes(limits.DISK_BEHIND))
    fakes.finished.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fakes.finished
    assert (fakes.chokes, fakes.moved) == (0, None)


async def test_what_is_no_data() -> None:
    fakes = Fakes(flow=False)
    fakes.intake.stream_message("text")
    with pytest.raises(ValueError, match="not as str"):
        await fakes.finished
    assert fakes.given == []


async def test_a_disk_that_takes_nothing_stalls_no_other_call(agent: Agent, peer: Peer) -> None:
    job, sandbox = await new_job(peer, agent)
    call = await peer.start(OSTREAM, "file_upload", job, "large")
    await eventually(lambda: list(sandbox.iterdir()))  # opened; now the disk gets stuck
    free = threading.Event()
    agent.disk.of(agent.jobs.jobs()[0]).submit(free.wait)
    try:
        for _ in range(24):
            await peer.data(call, bytes(MIB))
        assert (await peer.call("job_info", job))["uid"] == job
    finally:
        free.set()
    await peer.end(call)
    assert await peer.outcome(call) == ([], 24 * MIB)
    assert (sandbox / "large").stat().st_size == 24 * MIB
