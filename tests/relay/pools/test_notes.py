"""The notes of requests, which agents keep and give back, and the ids of requests."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.relay.pools.notes import (
    DONE,
    HELD,
    WITHDRAWN,
    Failure,
    agent_uid_of,
    command_uid_of,
    decode_failures,
    decode_job,
    decode_request,
    encode_failures,
    encode_job,
    rid_after,
)
from pagent.router_limits import POOL_NOTE_MAX
from pagent.wire.values import pack
from tests.relay.pools.examples import DATA, JOB

FAILURES = {
    "a" * 32: Failure("no partition", 1_700_000_000.0, "name", {"label": "x"}),
    "b" * 32: Failure("the time limit", 1_700_000_000.0, "name", {}, 3, None),
}
ENDED: list[Any] = ["text", 1.0, "name", {}]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5) | st.binary(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
)


def compressed(value: Any) -> bytes:
    return zlib.compress(bytes(pack(value)))


def test_notes_are_read_as_they_were_written() -> None:
    found = decode_request(DATA.encode())
    assert (found.pool, found.rid, found.owner, found.parameters) == ("pool", "rid", "ann", {"cpus": "4"})
    assert [*map(tuple, found.job.files)] == [*JOB.files]
    assert decode_job(encode_job(JOB)) == found.job
    assert [decode_job(note) for note in (DONE, WITHDRAWN, HELD)] == [None] * 3
    assert decode_failures(encode_failures(FAILURES)) == FAILURES


@given(st.binary(max_size=200) | values.map(compressed) | values.map(lambda value: bytes(pack(value))))
def test_other_notes_raise_only_the_documented_error(note: bytes) -> None:
    for decode in (decode_request, decode_job, decode_failures):
        with suppress(ValueError):
            decode(note)  # type: ignore[operator]


@pytest.mark.parametrize(
    "change",
    [{"uid": 1}, {"name": b"x"}, {"labels": None}, {"labels": {"a": 1}}, {"start": []}, {"files": [["a"]]}, {"x": 1}],
)
def test_values_of_other_types_are_refused(change: dict[str, Any]) -> None:
    wrong = {**JOB._asdict(), **change}
    with pytest.raises(ValueError, match="not a job"):
        decode_job(compressed(wrong))
    with pytest.raises(ValueError, match="not a request"):
        decode_request(compressed({**DATA._asdict(), "job": wrong}))


@pytest.mark.parametrize(
    "change", [{"pool": 1}, {"owner": None}, {"parameters": {"cpus": 4}}, {"created_at": "now"}, {"job": []}]
)
def test_requests_of_other_types_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a request"):
        decode_request(compressed({**DATA._asdict(), "job": JOB._asdict(), **change}))


@pytest.mark.parametrize(
    "failure",
    [
        ["text", 1.0, "name"],
        [1, 1.0, "name", {}],
        ["text", "now", "name", {}],
        None,
        [*ENDED, True, None],
        [*ENDED, None, 15],
    ],
)
def test_failures_of_other_types_are_refused(failure: Any) -> None:
    with pytest.raises(ValueError, match="not failures"):
        decode_failures(bytes(pack({"uid": failure})))


def test_a_note_is_bounded() -> None:
    noise = "".join(rid_after(str(number)) for number in range(POOL_NOTE_MAX // 8))
    with pytest.raises(ValueError, match="may have"):
        encode_job(JOB._replace(start={"args": [noise]}))


def test_all_routers_make_the_same_ids() -> None:
    assert rid_after("a", "b") == rid_after("a", "b") != rid_after("ab")
    assert len({agent_uid_of("rid"), command_uid_of("rid"), rid_after("rid")}) == 3
