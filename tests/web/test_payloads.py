from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.web.payloads import CREATE, START, WSCONNECT, Check, PayloadError

CREATES = [
    {"name": "x", "agent": {"type": "uid", "uid": "a"}},
    {"name": "", "agent": {"type": "select", "uids": ["a"]}},
    {"name": "x", "agent": {"type": "address", "address": "h:1", "token": "t"}},
]
STARTS = [
    {"args": [], "env": {}},
    {"args": ["a"], "env": {"A": "b"}, "cwd": None, "port_expected_count": 0, "forward_stdout": True},
    {"args": ["a"], "env": {}, "cwd": "folder"},
]


@pytest.mark.parametrize(
    ("check", "payload"), [(CREATE, each) for each in CREATES] + [(START, each) for each in STARTS]
)
def test_taken(check: Check, payload: Any) -> None:
    check(payload)


@pytest.mark.parametrize(
    ("check", "payload", "reason"),
    [
        (CREATE, [], "[] is not of type 'object'"),
        (CREATE, {"agent": CREATES[0]["agent"]}, "'name' is a required property"),
        (CREATE, {**CREATES[0], "x": 1}, "Additional properties are not allowed ('x' was unexpected)"),
        (CREATE, {"name": 1, "agent": CREATES[0]["agent"]}, "1 is not of type 'string'"),
        (CREATE, {"name": "x", "agent": {"wrong": 1}}, "{'wrong': 1} is not valid under any of the given schemas"),
        (CREATE, {"name": "x", "agent": {"type": []}}, "{'type': []} is not valid under any of the given schemas"),
        (CREATE, {"name": "x", "agent": {"type": "select", "uids": []}}, "[] is too short"),
        (CREATE, {"name": "x", "agent": {"type": "uid"}}, "'uid' is a required property"),
        (START, {"args": "x", "env": {}}, "'x' is not of type 'array'"),
        (START, {"args": [1], "env": {}}, "1 is not of type 'string'"),
        (START, {"args": ["x"]}, "'env' is a required property"),
        (START, {"args": ["x"], "env": {"A": 1}}, "1 is not of type 'string'"),
        (START, {"args": ["x"], "env": {}, "port_expected_count": True}, "True is not of type 'integer'"),
        (START, {"args": ["x"], "env": {}, "cwd": 1}, "1 is not of type 'string', 'null'"),
        (WSCONNECT, {}, "'url' is a required property"),
    ],
)
def test_refused(check: Check, payload: Any, reason: str) -> None:
    with pytest.raises(PayloadError) as caught:
        check(payload)
    assert str(caught.value) == f"Invalid request payload:\n{reason}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(payload=JSON, check=st.sampled_from([CREATE, START, WSCONNECT]))
def test_anything_is_taken_or_refused_shortly(payload: Any, check: Check) -> None:
    try:
        check(payload)
    except PayloadError as error:
        assert len(str(error)) < 500  # noqa: PT017
