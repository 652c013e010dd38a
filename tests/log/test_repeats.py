"""The bound on log lines of one kind."""

from __future__ import annotations

import logging
from typing import Any

from pagent.limits import LOG_BURST, LOG_KINDS, LOG_REPEAT_S
from pagent.log.repeats import RepeatLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(text: str = "disk full: %s", *args: object, name: str = "tests.log", level: int = logging.INFO) -> Any:
    return logging.LogRecord(name, level, "", 0, text, args, None)


def test_a_flood_of_one_kind_is_bounded_and_counted() -> None:
    clock = Clock()
    limit = RepeatLimit(clock)
    events = 10_000
    admitted = []
    for number in range(events):
        clock.now += 3 * LOG_REPEAT_S / events
        if (held := limit.admit(record("%s failed", f"peer {number}"))) is not None:
            admitted.append(held)
    assert len(admitted) in (LOG_BURST + 2, LOG_BURST + 3)
    assert limit.holds
    clock.now += LOG_REPEAT_S
    (line,) = limit.summaries()
    assert line == f"log: {events - sum(admitted) - len(admitted)} more lines of tests.log were left out: %s failed"
    assert not limit.holds
    assert limit.summaries() == []


def test_kinds_are_counted_separately() -> None:
    limit = RepeatLimit(Clock())
    while limit.admit(record("%s", 1)) is not None:
        pass
    assert limit.admit(record("%s!", 1)) == 0
    assert limit.admit(record("%s", 1, name="another")) == 0
    assert limit.admit(record("%s", 1, level=logging.ERROR)) == 0


def test_texts_that_are_made_at_run_time_are_one_kind() -> None:
    limit = RepeatLimit(Clock())
    admitted = [limit.admit(record(f"Exception in callback {number}")) is not None for number in range(1000)]
    assert sum(admitted) == LOG_BURST


def test_a_limit_remembers_a_bounded_number_of_kinds() -> None:
    limit = RepeatLimit(Clock())
    while limit.admit(record("first", 1)) is not None:
        pass
    for number in range(LOG_KINDS):
        assert limit.admit(record(f"{number} %s", 1)) == 0
    assert limit.admit(record("first", 1)) == 0
