"""The meter reads CPU and memory seldom enough, and computes rates."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pagent.jobs import meter as module
from pagent.jobs.activity import JobActivity
from pagent.jobs.meter import JobMeter
from pagent.jobs.model import State
from pagent.runtime.traffic import Traffic


class Job:
    """A job whose process has the usage that a test sets."""

    def __init__(self, state: State = State.RUNNING) -> None:
        self.uid = "a"
        self.state = state
        self.activity = JobActivity()
        self.traffic = Traffic()
        self.created_at = time.time()
        self.started_at: float | None = None
        self.used: tuple[float, int] | None = (0.0, 0)
        self.reads = 0

    def usage(self) -> tuple[float, int]:
        self.reads += 1
        if self.used is None:
            raise OSError("no descriptor is left")
        return self.used


def meter_of(*jobs: Any) -> JobMeter:
    return JobMeter(lambda: jobs)


async def test_cpu_is_the_rate_between_two_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PERIOD_S", 0.05)
    job: Any = Job()
    meter = meter_of(job)
    assert meter.figures(job)[:2] == (None, None)
    job.used = (1.0, 5000)
    await meter.read()
    assert meter.figures(job) == (None, 5000, 0, 0, 0)
    job.used = (1.05, 6000)
    await asyncio.sleep(0.1)
    await meter.read()
    cpu, memory, *_ = meter.figures(job)
    assert memory == 6000
    assert cpu is not None
    assert 0 < cpu <= 1.0


async def test_callers_share_a_reading() -> None:
    job: Any = Job()
    meter = meter_of(job)
    for _ in range(5):
        await meter.read()
    assert job.reads == 1


async def test_slow_readings_are_made_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PERIOD_S", 0.0)
    monkeypatch.setattr(module, "_CPU_PART", 1e-9)
    job: Any = Job()
    meter = meter_of(job)
    for _ in range(4):  # the second reading, which makes the use of CPU known, does not wait
        await meter.read()
        await asyncio.sleep(0.01)
    assert job.reads == 2


async def test_the_first_of_new_callers_gets_no_rate_since_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PERIOD_S", 0.0)
    job: Any = Job()
    meter = meter_of(job)
    for _ in range(2):
        with meter.in_use():
            await meter.read()
            assert meter.figures(job).cpu is None
            with meter.in_use():
                await asyncio.sleep(0.01)
                await meter.read()
                assert meter.figures(job).cpu is not None


@pytest.mark.parametrize("state", [State.NEW, State.FINISHED, State.CLOSED])
async def test_a_job_without_a_process_is_not_read(state: State) -> None:
    job: Any = Job(state)
    meter = meter_of(job)
    await meter.read()
    assert job.reads == 0
    assert meter.figures(job)[:2] == (None, None)


async def test_a_reading_that_fails_is_unknown() -> None:
    job: Any = Job()
    job.used = None
    meter = meter_of(job)
    await meter.read()
    assert meter.figures(job)[:2] == (None, None)


async def test_idle_time_is_since_the_start_or_the_last_use() -> None:
    job: Any = Job()
    meter = meter_of(job)
    job.created_at -= 50
    assert 50 <= meter.idle_s(job) < 60
    job.activity.opened()
    assert meter.idle_s(job) == 0
    job.activity.ended()
    assert meter.idle_s(job) < 10
