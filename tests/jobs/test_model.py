from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent.errors import JobInvalidStateError
from pagent.jobs.model import TRANSITIONS, UNNAMED, Input, Job, State
from pagent.jobs.notes import NoteBudget
from pagent.jobs.registry import JobRegistry
from pagent.jobs.sandbox import Sandbox
from pagent.jobs.terms import Terms
from tests.jobs.conftest import owner

#: How a new job gets into each state.
PATHS: dict[State, list[Input]] = {
    State.NEW: [],
    State.PENDING: [Input.START],
    State.RUNNING: [Input.START, Input.READY],
    State.FINISHED: [Input.START, Input.READY, Input.EXIT],
    State.CLOSED: [Input.CLOSE],
}

#: The table once more, by hand: the state after each input, in the order NEW, PENDING, RUNNING, FINISHED, CLOSED.
EXPECTED: dict[Input, list[str | None]] = {
    Input.START: ["PENDING", None, None, None, None],
    Input.READY: [None, "RUNNING", None, None, None],
    Input.EXIT: [None, "FINISHED", "FINISHED", None, "CLOSED"],
    Input.FAIL: [None, "FINISHED", None, None, "CLOSED"],
    Input.CLOSE: ["CLOSED", "CLOSED", "CLOSED", "CLOSED", None],
}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox.create(tmp_path, "uid")
    yield sandbox
    sandbox.remove()


@pytest.fixture
async def job(sandbox: Sandbox) -> Job:
    return Job("uid", Terms(), owner(), sandbox, lambda: (1.5, 4096), NoteBudget(), JobRegistry())


@pytest.mark.parametrize(("state", "happening"), list(itertools.product(State, Input)))
def test_every_state_with_every_input(job: Job, state: State, happening: Input) -> None:
    for step in PATHS[state]:
        job.apply(step)
    assert job.state is state
    expected = EXPECTED[happening][list(State).index(state)]
    if expected is None:
        with pytest.raises(JobInvalidStateError, match=f"is {state.value}"):
            job.apply(happening)
        assert job.state is state
    else:
        job.apply(happening)
        assert job.state.value == expected
        assert TRANSITIONS[state][happening] is job.state


def test_info_of_a_new_job(job: Job) -> None:
    info = job.info()
    assert list(info) == [
        "uid", "name", "state", "sender", "pid", "port", "ports", "exit_code", "signal", "error",
        "created_at", "started_at", "finished_at", "cpu_seconds", "rss_bytes", "labels",
        "open_streams", "last_request_at", "last_input_at", "linger",
    ]  # fmt: skip
    assert info["name"] == UNNAMED == "<unnamed job>"
    assert info["state"] == "NEW"
    assert info["sender"] == {"direction": "SERVER", "uid": b"router", "name": "a router"}
    assert info["cpu_seconds"] is info["rss_bytes"] is None


def test_usage_is_asked_for_while_a_process_runs(job: Job) -> None:
    job.apply(Input.START)
    job.pid = 1
    assert (job.info()["cpu_seconds"], job.info()["rss_bytes"]) == (1.5, 4096)
    job.apply(Input.EXIT)
    assert job.info()["cpu_seconds"] is None
    assert job.info()["pid"] == 1


def test_ports_in_info_are_a_copy(job: Job) -> None:
    job.info()["ports"].append(1)
    assert job.ports == ()


@pytest.mark.parametrize(
    ("ports", "asked", "answer"),
    [
        ([80], None, 80),
        ([80], 80, 80),
        ([80, 81], 81, 81),
        ([80, 81], None, "job does not contain a running server"),
        ([], None, "job does not contain a running server"),
        ([], 80, "job does not contain a running server"),
        ([80], 81, "port 81 is not one of the job's"),
    ],
)
def test_single_port(job: Job, ports: list[int], asked: int | None, answer: int | str) -> None:
    job.apply(Input.START)
    job.add_ports(*ports)
    with pytest.raises(ValueError, match=r"^job does not contain a running server$"):
        job.single_port(asked)  # not ready
    job.apply(Input.READY)
    if isinstance(answer, int):
        assert job.single_port(asked) == answer
    else:
        with pytest.raises(ValueError, match=f"^{answer}$"):
            job.single_port(asked)
    with pytest.raises(TypeError, match="port"):
        job.single_port(True)
    job.apply(Input.EXIT)
    with pytest.raises(ValueError, match=r"^job does not contain a running server$"):
        job.single_port(asked)


@pytest.mark.parametrize("end", [[Input.EXIT, Input.CLOSE], [Input.CLOSE, Input.EXIT], [Input.FAIL, Input.CLOSE]])
def test_the_end_is_reported_once(job: Job, end: list[Input]) -> None:
    called: list[str] = []
    job.on_end(lambda: called.append(job.state.value))
    job.apply(Input.START)
    assert called == []
    for happening in end:
        job.apply(happening)
    assert len(called) == 1
    job.on_end(lambda: called.append("late"))
    assert called[1:] == ["late"]


def test_a_callback_that_fails(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    called: list[str] = []

    def fail() -> None:
        raise RuntimeError("a splice's fault")

    job.on_end(fail)
    job.on_end(lambda: called.append("second"))
    job.apply(Input.CLOSE)
    assert called == ["second"]
    assert "a splice's fault" in caplog.text


def test_process_ended_is_clear_only_while_a_process_runs(job: Job) -> None:
    assert job.process_ended.is_set()
    job.apply(Input.START)
    assert not job.process_ended.is_set()
    job.apply(Input.CLOSE)
    assert not job.process_ended.is_set()
    job.apply(Input.EXIT)
    assert job.process_ended.is_set()
    assert job.finished_at is not None
