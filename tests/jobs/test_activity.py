from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pagent.jobs.activity import JobActivity
from pagent.wire.frame_encoding import masked_frame
from pagent.wire.frames import CLOSE, PING, PONG, TEXT
from tests.kit.stepped import SteppedLoop


@pytest.fixture
def loop() -> Iterator[SteppedLoop]:
    loop = SteppedLoop()
    yield loop
    loop.close()


@pytest.fixture
def activity(loop: SteppedLoop) -> JobActivity:
    async def make() -> JobActivity:
        return JobActivity()

    return loop.run_until_complete(make())


def near(moment: float | None, seconds_ago: float) -> bool:
    return moment is not None and abs(time.time() - seconds_ago - moment) < 5


def test_a_job_without_traffic(activity: JobActivity) -> None:
    assert (activity.open_streams, activity.last_request_at, activity.last_input_at) == (0, None, None)
    assert activity.idle_since() == 0


def test_a_request(activity: JobActivity, loop: SteppedLoop) -> None:
    activity.opened()
    loop.pass_time(100)
    assert activity.open_streams == 1
    assert near(activity.last_request_at, 100)
    assert activity.last_input_at is None
    assert activity.idle_since() == loop.now, "it is in use while its client waits"
    ended = loop.now
    activity.ended()
    loop.pass_time(50)
    assert activity.open_streams == 0
    assert near(activity.last_request_at, 150)
    assert activity.idle_since() == ended


def test_a_channel_counts_by_its_start_and_its_input(activity: JobActivity, loop: SteppedLoop) -> None:
    opened = loop.now
    activity.channel_opened()
    loop.pass_time(100)
    assert (activity.open_streams, activity.idle_since()) == (1, opened)
    activity.piece_arrived(masked_frame(TEXT, b"input"))
    typed = loop.now
    loop.pass_time(100)
    activity.piece_arrived(masked_frame(PONG, b""))
    assert activity.idle_since() == typed
    assert near(activity.last_input_at, 100)
    activity.channel_ended()
    assert (activity.open_streams, activity.idle_since()) == (0, typed)


def test_requests_that_overlap(activity: JobActivity, loop: SteppedLoop) -> None:
    activity.opened()
    activity.opened()
    loop.pass_time(1)
    activity.ended()
    loop.pass_time(1)
    assert (activity.open_streams, activity.idle_since()) == (1, loop.now)
    activity.ended()
    assert activity.open_streams == 0


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", bytes(125)])
def test_exactly_one_control_frame_is_no_input(activity: JobActivity, opcode: int, payload: bytes) -> None:
    frame = masked_frame(opcode, payload)
    for piece in (bytes(frame), bytearray(frame), memoryview(frame)):
        activity.piece_arrived(piece)
    assert activity.last_input_at is None


@pytest.mark.parametrize(
    "piece",
    [
        b"\x81\x80mask",
        b"\x82\xfdmask" + bytes(125),
        b"\x89\x80mask" * 2,
        b"\x8a\x83maskab",
        b"\x8a\x80maskx",
        b"\x8a\x80mask\x81\x81maskx",
        b"\x8a",
        b"\x8a\x00",
        b"\x8a\x00aaaa",
        b"\x0a\x80aaaa",
        b"\x8b\x80aaaa",
        b"x",
        bytes(4096),
        b"\x89\xfe" + bytes(130),
    ],
)
def test_any_other_piece_is_input(activity: JobActivity, piece: bytes) -> None:
    activity.piece_arrived(piece)
    assert near(activity.last_input_at, 0)


def test_a_clock_that_jumps_moves_the_times_with_it(
    activity: JobActivity, loop: SteppedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    activity.opened()
    loop.pass_time(10)
    monkeypatch.setattr(time, "time", lambda: 5_000_000.0)
    assert activity.last_request_at == 4_999_990.0
