"""What is kept of events, and when streams are woken."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pagent.relay.agent import AgentKey
from pagent.relay.record import JobRecord
from pagent.rpc.directory import JobFacts, Subject
from pagent.web.v1 import event_log
from pagent.web.v1.event_log import EventLog
from tests.kit.directory import OpenGate
from tests.kit.peer import PATIENCE_S

ANN, BOB = Subject("ann"), Subject("bob")


class Owned(OpenGate):
    """Each subject sees the jobs whose uid begins with its name."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def sees(self, subject: Subject, job: JobFacts) -> bool:
        self.asked += 1
        return job.uid.startswith(str(subject.name))


GATE = Owned()


def job(uid: str, **info: Any) -> JobRecord:
    record = JobRecord(uid, AgentKey("A", None))
    record.take({"uid": uid, "state": "NEW", **info})
    return record


def read(log: EventLog, number: int, subject: Subject = ANN) -> list[tuple[int, str, Any]]:
    """The events after a number: number, name and data."""
    found = []
    while number < log.last:
        piece = log.after(number, GATE, subject)
        assert piece is not None
        for block in piece.data.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            found.append(
                (int(fields["id"].removeprefix(f"{log.instance}-")), fields["event"], json.loads(fields["data"]))
            )
        number = piece.last
    return found


def test_an_event_has_the_job_as_it_was_then() -> None:
    log, record = EventLog(), job("ann1")
    log.add("job.created", record)
    record.take({"uid": "ann1", "state": "RUNNING", "name": "a\nb\u2028"})
    log.add("job.state", record)
    first, second = read(log, 0)
    assert (first[:2], first[2]["state"], first[2]["name"]) == ((1, "job.created"), "NEW", None)
    assert (second[:2], second[2]["state"], second[2]["name"]) == ((2, "job.state"), "RUNNING", "a\nb\u2028")


def test_subjects_at_one_place_share_what_is_encoded_for_them() -> None:
    gate = Owned()
    log = EventLog()
    for number in range(50):
        log.add("job.created", job(f"ann{number}"))
    pieces = [log.after(0, gate, ANN) for _ in range(1_000)]
    assert {id(piece) for piece in pieces} == {id(pieces[0])}
    assert gate.asked == 50
    assert read(log, 0, BOB) == []
    # The subject of another gate may see other jobs.
    assert log.after(0, OpenGate(), BOB) is not log.after(0, gate, BOB)
    assert log.after(0, OpenGate(), BOB) == pieces[0]


def test_a_long_way_comes_in_pieces() -> None:
    log = EventLog()
    for number in range(5_000):
        log.add("job.created", job(f"{'ann' if number > 4_990 else 'bob'}{number}"))
    piece = log.after(0, GATE, ANN)
    assert piece is not None
    assert (piece.data, piece.last) == (b"", 1_000)
    assert [number for number, *_ in read(log, 0)] == [*range(4_992, 5_001)]
    piece = log.after(0, GATE, BOB)
    assert piece is not None
    assert len(piece.data) < 64 * 1024


def test_the_oldest_go_when_there_are_too_many_or_they_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "EVENTS_KEPT", 10)
    log = EventLog()
    for number in range(12):
        log.add("job.created", job(f"ann{number}"))
    assert log.after(1, GATE, ANN) is None
    assert len(read(log, 2)) == 10
    monkeypatch.setattr(event_log, "EVENTS_KEPT_BYTES", 30_000)
    for _ in range(4):
        log.add("ticket.created", job("ann"), b'"%b"' % (b"x" * 10_000))
    assert log.after(13, GATE, ANN) is None
    assert len(read(log, 14)) == 2


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "{}-", "{}--1", "{}-4", "{}-\u0661", "{}-99999999999999999999", "{}x-1"]
)
def test_ids_of_others_are_not_known(text: str) -> None:
    log = EventLog()
    for _ in range(3):
        log.add("job.created", job("ann"))
    assert log.number_of(text.format(log.instance)) is None
    assert [log.number_of(log.id_of(number)) for number in range(4)] == [0, 1, 2, 3]


def test_a_job_is_encoded_for_the_first_stream_only(monkeypatch: pytest.MonkeyPatch) -> None:
    views: list[str] = []
    original = event_log.job_view

    def view(known: Any, *, away: bool) -> dict[str, Any]:
        views.append(known.uid)
        return original(known, away=away)

    monkeypatch.setattr(event_log, "job_view", view)
    log = EventLog()
    log.add("job.created", job("ann"))
    assert views == []
    for subject in (ANN, Subject("ann", ("read",)), Subject("a")):
        assert len(read(log, 0, subject)) == 1
    assert views == ["ann"]


async def test_streams_are_woken_together_and_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_PAUSE_S", 0.1)
    log = EventLog()
    woken = 0

    async def stream() -> None:
        nonlocal woken
        with log.stream():
            number = log.last
            while number < 50:
                await log.news()
                woken += 1
                number = log.last

    streams = [asyncio.ensure_future(stream()) for _ in range(100)]
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(50):
        log.add("job.created", job("ann"))
        await asyncio.sleep(0.005)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*streams)
    assert log.streams == 0
    pauses = (loop.time() - began) / 0.1
    assert 200 <= woken <= 100 * (pauses + 2)
