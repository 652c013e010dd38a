from __future__ import annotations

from dataclasses import dataclass

from pagent.jobs.traffic import JobTraffic


@dataclass(eq=False)
class Counted:
    received_bytes: int
    sent_bytes: int


def test_open_and_ended_streams_are_counted_once() -> None:
    traffic, one, two = JobTraffic(), Counted(1, 10), Counted(2, 20)
    assert traffic.totals() == (0, 0)
    traffic.opened(one)
    traffic.opened(two)
    assert traffic.totals() == (3, 30)
    one.sent_bytes = 15
    traffic.ended(one)
    assert traffic.totals() == (3, 35)
    one.sent_bytes = 1000
    traffic.ended(two)
    assert traffic.totals() == (3, 35)
