from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.errors import JobNotFoundError
from pagent.relay import jobs as module
from pagent.relay.agent import AgentKey
from pagent.relay.changes import Change, ChangeFeed
from pagent.relay.jobs import JobTable
from pagent.relay.record import JobRecord
from pagent.rpc.directory import JobFacts
from tests.kit.peer import PATIENCE_S

A, B = AgentKey("A", None), AgentKey("A", ("address", "token"))
OTHER = AgentKey("other", None)


class Table(JobTable):
    """A table that notes its changes, the agents that shall list their jobs again, and what second agents say."""

    def __init__(self) -> None:
        feed = ChangeFeed()
        self.changes: list[Change] = []
        self.reclaimed: list[AgentKey] = []
        self.duplicates: list[tuple[str, AgentKey, Any]] = []
        feed.subscribe(self.changes.append)
        super().__init__(feed, self.reclaimed.append, self._note_duplicate)

    def _note_duplicate(self, known: JobRecord, claimant: AgentKey, info: Mapping[str, Any]) -> None:
        self.duplicates.append((known.uid, claimant, info))

    def add(self, job: str, agent: AgentKey, **info: Any) -> bool:
        return self.update(agent, {"uid": job, **info})

    def said(self) -> list[tuple[str, str, str | None]]:
        """The changes since the last call: kind, agent and job."""
        changes = [(each.kind.value, each.agent_uid, each.job and each.job.uid) for each in self.changes]
        self.changes.clear()
        return changes


@pytest.fixture
def table() -> Table:
    return Table()


def test_a_job_has_one_agent(table: Table) -> None:
    table.add("j", A)
    table.add("j", B)
    assert table.agent_of("j") == B
    assert (table.count(A), table.count(B)) == (0, 1)


def test_the_jobs_of_an_agent_are_forgotten_together(table: Table) -> None:
    for job, agent in ("1", A), ("2", A), ("3", B):
        table.add(job, agent)
    table.discard_agent(A)
    assert [table.agent_of(job) for job in "123"] == [None, None, B]


def test_the_facts_of_a_job(table: Table) -> None:
    assert table.facts("j") is None
    table.update(A, {"uid": "j"}, {"a": "b"})
    assert table.facts("j") == JobFacts("j", "A", {"a": "b"})
    table.add("j", A)  # the info of an agent that knows no labels
    assert table.facts("j") == JobFacts("j", "A", {"a": "b"})
    table.add("j", A, labels={})
    assert table.facts("j") == JobFacts("j", "A", {})
    table.discard("j")
    assert table.facts("j") is None


def test_a_change_of_a_job_is_published_once(table: Table) -> None:
    table.add("j", A, state="NEW")
    table.add("j", A, state="NEW", pid=5)
    table.add("j", A, state="PENDING")
    assert table.is_pending("j")
    table.add("j", A, state="RUNNING")
    assert not table.is_pending("j")
    table.note(A, "j", "name", b"value")
    table.discard("j")
    table.discard("j")
    kinds = ["job.created", "job.state", "job.state", "job.note", "job.removed"]
    assert table.said() == [(kind, "A", "j") for kind in kinds]


# --- order ------------------------------------------------------------------------------------------


def test_jobs_are_listed_in_the_order_of_their_creation(table: Table) -> None:
    for job, created_at in ("b", 2.0), ("a", 3.0), ("c", 1.0), ("d", 2.0):
        table.add(job, A, created_at=created_at)
    assert [record.uid for record in table.later_than(None)] == ["c", "b", "d", "a"]
    assert [record.uid for record in table.later_than("b")] == ["d", "a"]
    table.add("d", A, created_at=9.0)
    assert [record.uid for record in table.later_than("b")] == ["a", "d"]
    with pytest.raises(JobNotFoundError):
        list(table.later_than("x"))


# --- two agents with one job ------------------------------------------------------------------------


def test_a_job_that_a_second_agent_names_is_not_believed(table: Table) -> None:
    assert table.add("j", A)
    assert not table.add("j", OTHER)
    assert not table.add("j", OTHER)
    assert table.agent_of("j") == A
    assert table.said() == [("job.created", "A", "j"), ("agent.conflict", "other", "j")]
    table.discard_agent(A)
    assert table.reclaimed == [OTHER]
    assert table.add("j", OTHER)
    assert table.agent_of("j") == OTHER


def test_an_agent_that_is_forgotten_claims_nothing(table: Table) -> None:
    table.add("j", A)
    table.add("j", OTHER)
    table.discard_agent(OTHER)
    table.discard_agent(A)
    assert table.reclaimed == []


# --- late news --------------------------------------------------------------------------------------


def test_messages_after_a_removal_by_the_router_are_ignored(table: Table) -> None:
    table.add("j", A)
    table.removed("j")
    assert not table.add("j", A)
    table.note(A, "j", "name", b"value")
    assert table.get("j") is None


def test_a_job_that_its_agent_has_not_listed_may_be_named_again(table: Table) -> None:
    table.add("j", A)
    table.discard("j")
    assert table.add("j", A)


def test_removals_are_remembered_for_a_while(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LATE_S", 0.0)
    for job in "12":
        table.add(job, A)
        table.removed(job)
    table.removed("3")  # drops what is too old, and is not known itself
    assert [table.add(job, A) for job in "123"] == [True, True, True]


# --- limits -----------------------------------------------------------------------------------------


def test_the_jobs_of_an_agent_are_bounded(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGENT_JOBS_KEPT_MAX", 10_000)
    believed = [table.add(f"job {number}", A) for number in range(20)]
    assert 5 < sum(believed) < 20
    assert table.add("job", OTHER)
    table.note(A, "job 0", "name", b"value")
    record = table.get("job 0")
    assert record is not None
    assert record.notes == {}
    table.discard("job 1")
    assert table.add("job 19", A)


def test_notes_are_bounded(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGENT_JOBS_KEPT_MAX", 10_000)
    table.add("j", A)
    for number in range(20):
        table.note(A, "j", f"note {number}", bytes(1000))
    record = table.get("j")
    assert record is not None
    assert 5 < len(record.notes) < 10
    table.note(A, "j", "note 0", None)
    assert "note 0" not in record.notes
    table.note(OTHER, "j", "note", b"of another agent")
    assert "note" not in record.notes


# --- waiting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["state", "removal", "link"])
async def test_a_wait_ends_with_a_change(end: str, table: Table) -> None:
    table.add("j", A, state="PENDING")
    waits = [asyncio.create_task(table.changed("j")) for _ in range(3)]
    await asyncio.sleep(0)
    waits[0].cancel()
    await asyncio.sleep(0)
    table.wake(OTHER)
    assert not waits[1].done()
    match end:
        case "state":
            table.add("j", A, state="RUNNING")
        case "removal":
            table.discard("j")
        case "link":
            table.wake(A)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*waits[1:])


# --- all together -----------------------------------------------------------------------------------


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "discard", "discard_agent"]), st.sampled_from("12345"), st.sampled_from([A, B]))
)


@given(STEPS)
def test_it_is_a_map_with_its_counts(steps: list[tuple[str, str, AgentKey]]) -> None:
    index, model = Table(), dict[str, AgentKey]()
    for step, job, agent in steps:
        if step == "add":
            index.add(job, agent, created_at=float(len(model)))
            model[job] = agent
        elif step == "discard":
            index.discard(job)
            model.pop(job, None)
        else:
            index.discard_agent(agent)
            model = {name: each for name, each in model.items() if each != agent}
        assert [index.agent_of(name) for name in "12345"] == [model.get(name) for name in "12345"]
        assert sorted(record.uid for record in index.later_than(None)) == sorted(model)
        assert [index.count(each) for each in (A, B)] == [list(model.values()).count(each) for each in (A, B)]
