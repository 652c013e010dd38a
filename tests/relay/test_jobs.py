from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pagent.relay.agent import AgentKey
from pagent.relay.jobs import JobIndex, labels_of
from pagent.rpc.directory import JobFacts

A, B = AgentKey("A", None), AgentKey("A", ("address", "token"))


def test_a_job_has_one_agent() -> None:
    index = JobIndex()
    index.add("j", A)
    index.add("j", B)
    assert index.agent_of("j") == B
    assert (index.count(A), index.count(B)) == (0, 1)


def test_the_jobs_of_an_agent_are_forgotten_together() -> None:
    index = JobIndex()
    for job, agent in ("1", A), ("2", A), ("3", B):
        index.add(job, agent)
    index.discard_agent(A)
    assert [index.agent_of(job) for job in "123"] == [None, None, B]


def test_the_facts_of_a_job() -> None:
    index = JobIndex()
    assert index.facts("j") is None
    index.add("j", A, {"a": "b"})
    assert index.facts("j") == JobFacts("j", "A", {"a": "b"})
    index.add("j", A)  # the info of an agent that knows no labels
    assert index.facts("j") == JobFacts("j", "A", {"a": "b"})
    index.add("j", A, {})
    assert index.facts("j") == JobFacts("j", "A", {})
    index.discard("j")
    assert index.facts("j") is None


def test_labels_in_an_info() -> None:
    assert labels_of({}) is None
    assert labels_of({"labels": ["a"]}) is None
    assert labels_of({"labels": {"a": "b", "c": 1, 2: "d"}}) == {"a": "b"}


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "discard", "discard_agent"]), st.sampled_from("12345"), st.sampled_from([A, B]))
)


@given(STEPS)
def test_it_is_a_map_with_its_counts(steps: list[tuple[str, str, AgentKey]]) -> None:
    index, model = JobIndex(), dict[str, AgentKey]()
    for step, job, agent in steps:
        if step == "add":
            index.add(job, agent)
            model[job] = agent
        elif step == "discard":
            index.discard(job)
            model.pop(job, None)
        else:
            index.discard_agent(agent)
            model = {name: each for name, each in model.items() if each != agent}
        assert [index.agent_of(name) for name in "12345"] == [model.get(name) for name in "12345"]
        assert [index.count(each) for each in (A, B)] == [list(model.values()).count(each) for each in (A, B)]
