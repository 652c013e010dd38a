"""Notes of jobs: the arguments, and any sequence of calls against a model, with a clock of the test."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pagent import limits
from pagent.errors import JobInvalidStateError
from pagent.jobs.notes import JobNotes, NoteBudget
from tests.kit.stepped import SteppedLoop


def notes(budget: NoteBudget | None = None) -> JobNotes:
    return JobNotes(budget or NoteBudget(), lambda name: None)


class Machine(RuleBasedStateMachine):
    """Two jobs of one agent. The model of a note is its value and the time of its end."""

    jobs = st.sampled_from([0, 1])
    names = st.sampled_from(["a", "b", "c"])
    values = st.sampled_from([0, 1, limits.NOTE_VALUE_MAX]).map(bytes)

    def __init__(self) -> None:
        super().__init__()
        self.loop = SteppedLoop()
        self.budget = NoteBudget()
        self.changes: list[str] = []
        self.notes = [JobNotes(self.budget, self.changes.append) for _ in range(2)]
        self.model: list[dict[str, tuple[bytes, float]]] = [{}, {}]

    def run(self, job: int, *arguments: Any) -> bool:
        async def step() -> bool:
            return self.notes[job].set(*arguments)

        return self.loop.run_until_complete(step())

    @rule(job=jobs, name=names, value=values, ttl=st.sampled_from([None, 1, 10.0]), if_absent=st.booleans())
    def set(self, job: int, name: str, value: bytes, ttl: float | None, if_absent: bool) -> None:
        known = self.model[job]
        refused = if_absent and name in known
        before = len(self.changes)
        assert self.run(job, name, value, ttl, if_absent) is not refused
        assert self.changes[before:] == ([] if refused else [name])
        if not refused:
            known[name] = (value, self.loop.now + ttl if ttl else float("inf"))

    @rule(job=jobs, name=names)
    def delete(self, job: int, name: str) -> None:
        before = len(self.changes)
        assert self.run(job, name, None)
        assert self.changes[before:] == ([name] if self.model[job].pop(name, None) else [])

    @rule(job=jobs)
    def clear(self, job: int) -> None:
        before = len(self.changes)
        self.notes[job].clear()
        self.model[job].clear()
        assert self.changes[before:] == []

    @rule(passed=st.sampled_from([0.5, 5.0, 100.0]))
    def pass_time(self, passed: float) -> None:
        before = len(self.changes)
        self.loop.pass_time(passed)
        ended = [(known, name) for known in self.model for name, (_, end) in known.items() if end <= self.loop.now]
        assert sorted(self.changes[before:]) == sorted(name for _, name in ended)
        for known, name in ended:
            del known[name]

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        for job, known in zip(self.notes, self.model, strict=True):
            assert {name: job.get(name) for name in job} == {name: value for name, (value, _) in known.items()}
        values = [value for known in self.model for value, _ in known.values()]
        assert (self.budget.count, self.budget.size) == (len(values), sum(map(len, values)))

    def teardown(self) -> None:
        self.loop.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=50, deadline=None)


@pytest.mark.parametrize("name", ["", "n" * 65, "\ud800"])
def test_a_name_that_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        notes().set(name, b"")


@pytest.mark.parametrize(
    "arguments",
    [(1, b""), (None, b""), (b"n", b""), ("n", "text"), ("n", 1), ("n", [b""]), ("n", b"", "1"), ("n", b"", None, 1)],
)
def test_an_argument_of_another_type(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        notes().set(*arguments)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), limits.RUN_TIMEOUT_MAX_S + 1])
def test_a_time_that_is_refused(ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        notes().set("n", b"", ttl)


def test_names_are_any_text_of_64_characters() -> None:
    kept = notes()
    for name in ("ü" * 64, "\0", "../../etc", "<script>", "\u202e"):
        assert kept.set(name, b"v")
        assert kept.get(name) == b"v"


def test_a_value_is_bounded() -> None:
    kept = notes()
    assert kept.set("n", bytes(limits.NOTE_VALUE_MAX))
    with pytest.raises(ValueError, match="at most 65536 bytes"):
        kept.set("n", bytes(limits.NOTE_VALUE_MAX + 1))
    assert kept.get("n") == bytes(limits.NOTE_VALUE_MAX)


def test_a_job_has_256_notes() -> None:
    kept = notes()
    for number in range(limits.NOTES_PER_JOB):
        kept.set(str(number), b"")
    with pytest.raises(ValueError, match="at most 256 notes"):
        kept.set("more", b"")
    kept.set("0", b"new")
    kept.set("0", None)
    kept.set("more", b"")


def test_a_job_has_256_kib_of_notes() -> None:
    kept = notes()
    for number in range(4):
        kept.set(str(number), bytes(limits.NOTE_VALUE_MAX))
    kept.set("empty", b"")
    with pytest.raises(ValueError, match="at most 262144 bytes"):
        kept.set("more", b"1")
    kept.set("0", b"")
    kept.set("more", b"1")


def test_an_agent_has_64_mib_of_notes() -> None:
    budget = NoteBudget()
    value = bytes(limits.NOTE_VALUE_MAX)
    jobs = [notes(budget) for _ in range(limits.NOTES_BYTES // limits.NOTES_BYTES_PER_JOB)]
    for job in jobs:
        for number in range(4):
            job.set(str(number), value)
    another = notes(budget)
    with pytest.raises(JobInvalidStateError, match="no room"):
        another.set("more", b"1")
    assert another.set("empty", b"")
    jobs[0].clear()
    assert another.set("more", b"1")


def test_an_agent_has_65536_notes() -> None:
    budget = NoteBudget()
    jobs = [notes(budget) for _ in range(limits.NOTES_COUNT // limits.NOTES_PER_JOB)]
    for job in jobs:
        for number in range(limits.NOTES_PER_JOB):
            job.set(str(number), b"")
    with pytest.raises(JobInvalidStateError, match="no room"):
        notes(budget).set("more", b"")
    assert jobs[0].set("0", b"replaced")
