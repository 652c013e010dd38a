"""Which agents meet the conditions of a new job."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.errors import RequestRefusedError
from pagent.relay.conditions import parse_where
from pagent.router_limits import WHERE_TEXT_MAX, WHERE_TEXTS_MAX

AGENT = {
    "platform": {"system": "Linux", "release": "5.10.0-8-amd64", "machine": "x86_64"},
    "properties": {
        "gpu": "A100-40",
        "tool": "2.3",
        "empty": "",
        "odd[1]": "[x]",
        "JOBENV__solver__2.3.1": "/opt/solver/activate",
        "JOBENV__solver__1.9.0": "/opt/old/activate",
    },
    "labels": {"team": "a*"},
}


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ({}, True),
        ({"platform.system": "Linux"}, True),
        ({"platform.system": "linux"}, False),
        ({"platform.system": "Linux", "platform.machine": "arm64"}, False),
        ({"platform.absent": "x"}, False),
        ({"properties.gpu": "A*"}, True),
        ({"properties.gpu": "A???-40"}, True),
        ({"properties.gpu": "B*"}, False),
        ({"properties.g*": "A100-40"}, True),
        ({"properties.JOBENV__solver__*": {"exists": True}}, True),
        ({"properties.JOBENV__other__*": {"exists": False}}, True),
        ({"properties.gpu": {"exists": False}}, False),
        ({"properties.empty": {"exists": True}}, True),
        ({"properties.odd[1]": "[x]"}, True),
        ({"properties.gpu": {"in": ["B", "A1*"]}}, True),
        ({"properties.gpu": {"in": []}}, False),
        ({"properties.tool": {"version": ">=2.1,<3"}}, True),
        ({"properties.tool": {"version": ">=2.4"}}, False),
        ({"properties.gpu": {"version": ">=0"}}, False),
        ({"platform.release": {"version": ">=5.4"}}, True),
        ({"labels.team": "a*"}, True),
        ({"labels.team": "*"}, False),
        ({"labels.t*": "a*"}, False),
        ({"jobenv": {"guid": "solver", "version": "2.1"}}, True),
        ({"jobenv": {"guid": "solver", "version": "2.3.1"}}, True),
        ({"jobenv": {"guid": "solver", "version": "2.3.2"}}, False),
        ({"jobenv": {"guid": "solver", "version": "1.0.0"}}, True),
        ({"jobenv": {"guid": "solver", "version": "0.9"}}, False),
        ({"jobenv": {"guid": "solv", "version": "2.1"}}, False),
    ],
)
def test_conditions(where: dict[str, Any], fits: bool) -> None:
    assert parse_where(where)(AGENT) is fits


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"colour": "x"}, "where['colour'] must be jobenv, platform.NAME"),
        ({"platform": "x"}, "where['platform'] must be jobenv"),
        ({"platform.": "x"}, "where['platform.'] must be jobenv"),
        ({"platform.a": 1}, "must be a string, {'in'"),
        ({"platform.a": {}}, "must be a string, {'in'"),
        ({"platform.a": {"in": ["x"], "exists": True}}, "must be a string, {'in'"),
        ({"platform.a": {"exists": 2}}, "must be a string, {'in'"),
        ({"platform.a": {"in": ["x", 1]}}, ".in must be a string, not 1"),
        ({"platform.a": {"version": "~1"}}, "'~1' is not a clause"),
        ({"platform.a": "x" * (WHERE_TEXT_MAX + 1)}, "must have at most 256 characters"),
        ({"platform.a": {"in": ["x"] * WHERE_TEXTS_MAX}}, "agent.where must have at most 64"),
        ({"jobenv": {"guid": "x"}}, "must be {'guid': string, 'version': string}"),
        ({"jobenv": {"guid": "x", "version": "one"}}, "'one' is not a version"),
    ],
)
def test_the_error_names_the_condition(where: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        parse_where(where)
    assert caught.value.status == 400
    assert words in str(caught.value)


TEXTS = st.text(st.sampled_from("ab*?[]!-.01"), max_size=6)
VALUES = (
    TEXTS
    | st.fixed_dictionaries({"in": st.lists(TEXTS, max_size=3)})
    | st.fixed_dictionaries({"exists": st.booleans()})
)
NAMES = st.builds(
    "{}.{}".format, st.sampled_from(["platform", "properties", "labels"]), st.text(st.sampled_from("ab*?["), min_size=1)
)
GROUPS = st.dictionaries(st.text(st.sampled_from("ab*?["), min_size=1, max_size=3), TEXTS | st.none(), max_size=3)
AGENTS = st.fixed_dictionaries({}, optional={name: GROUPS | st.none() for name in ("platform", "properties", "labels")})


@given(st.dictionaries(NAMES, VALUES, max_size=3), AGENTS)
def test_all_conditions_must_be_met(where: dict[str, Any], agent: dict[str, Any]) -> None:
    each = [parse_where({name: value})(agent) for name, value in where.items()]
    assert parse_where(where)(agent) is all(each)


@given(NAMES, AGENTS)
def test_a_name_is_there_or_not(name: str, agent: dict[str, Any]) -> None:
    there, absent = (parse_where({name: {"exists": value}})(agent) for value in (True, False))
    assert there is not absent


@given(GROUPS)
def test_an_agent_meets_the_conditions_that_are_made_of_its_own_values(group: dict[str, Any]) -> None:
    for name in ("platform", "properties", "labels"):
        where = {f"{name}.{key}": value for key, value in group.items() if value is not None}
        assert parse_where(where)({name: group})


@given(st.dictionaries(st.text(max_size=12), st.recursive(st.none() | st.booleans() | st.text(max_size=5), st.lists)))
def test_any_map_is_parsed_or_refused(where: dict[str, Any]) -> None:
    with suppress(RequestRefusedError):
        parse_where(where)(AGENT)
