from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.access.operations import SCOPES
from pagent.access.scopes import Grants, grants_of, parse_scope
from pagent.rpc.directory import JobFacts

OWN = JobFacts("j1", "a1", {"pagent/owner": "me", "team": "blue"})
THEIRS = JobFacts("j2", "a2", {"pagent/owner": "they", "team": "red"})
UNKNOWN = JobFacts("j3", "a1", {})


def covers(text: str, job: JobFacts) -> bool:
    return grants_of((text,)).covers("read", "me", job)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("read", (True, False, False)),
        ("read!any", (True, True, True)),
        ("read!agent=a1", (True, False, True)),
        ("read!agent=a", (False, False, False)),
        ("read!job=j2", (False, True, False)),
        ("read!label.team=red", (False, True, False)),
        ("read!label.team=", (False, False, False)),
        ("read!label.pagent/owner=they", (False, True, False)),
        ("jobs!any", (False, False, False)),
    ],
)
def test_of_which_jobs_a_scope_is_good(text: str, expected: tuple[bool, bool, bool]) -> None:
    assert (covers(text, OWN), covers(text, THEIRS), covers(text, UNKNOWN)) == expected


def test_a_job_without_an_owner_belongs_to_none() -> None:
    assert not grants_of(("read",)).covers("read", "", UNKNOWN)


def test_a_value_of_a_label_may_have_an_equals_sign() -> None:
    assert covers("read!label.team=a=b", JobFacts("j", "a", {"team": "a=b"}))


@pytest.mark.parametrize(
    "text",
    [
        "", "!any", "Read", "read ", "read!", "read!all", "read!any=", "read!agent", "read!agent=", "read!job=",
        "read!label=x", "read!label.=x", "read!owner=x", "write", "admin!job=x", "admin!label.a=b", "read!any!any", "*",
    ],
)  # fmt: skip
def test_invalid_scopes(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(a scope|admin) "):
        parse_scope(text)


@given(st.text(max_size=30))
def test_any_text_is_a_scope_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_scope(text).scope in SCOPES


def test_several_scopes_of_one_kind_add_up() -> None:
    grants = grants_of(("read!job=j1", "read!job=j2"))
    assert grants.covers("read", "", OWN)
    assert grants.covers("read", "", THEIRS)
    assert not grants.covers("read", "", UNKNOWN)


def test_a_job_is_seen_with_any_scope_but_admin() -> None:
    assert grants_of(("logs",)).sees("me", OWN)
    assert not grants_of(("logs",)).sees("me", THEIRS)
    assert not grants_of(("admin!any",)).sees("me", OWN)
    assert not Grants(()).sees("me", OWN)
