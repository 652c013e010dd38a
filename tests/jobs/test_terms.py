from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagent import limits
from pagent.jobs.terms import Terms, check_terms

UID = "0123456789abcdef" * 2


def test_nothing_is_required() -> None:
    assert check_terms() == Terms(None, None, None, None, {})


def test_all_of_them() -> None:
    labels = {"app": "x", "a.b/c-d": "", "pagent/owner": "ü" * 128}
    assert check_terms("n", linger=3, uid=UID, labels=labels, idle_after=4) == Terms("n", 3.0, 4.0, UID, labels)


@pytest.mark.parametrize("uid", ["", UID[1:], f"{UID}0", UID.upper(), f"{UID[:-1]}g", f"{UID}\n", "../" + UID[3:]])
def test_a_uid_that_is_refused(uid: str) -> None:
    with pytest.raises(ValueError, match="uid must be 32 hex digits"):
        check_terms(uid=uid)


@pytest.mark.parametrize("uid", [b"0" * 32, 1, [], {}])
def test_a_uid_of_another_type(uid: Any) -> None:
    with pytest.raises(TypeError, match="uid must be a str"):
        check_terms(uid=uid)


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "a_b", "a" * 64, "a\n", "a\0", "../x y", "ü", "a=b", "<script>", "\u202ea", "\ud800"]
)
def test_the_name_of_a_label_that_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the name of a label"):
        check_terms(labels={name: "v"})


@pytest.mark.parametrize("name", [1, None, b"a", 1.5, True, (1,)])
def test_the_name_of_a_label_of_another_type(name: Any) -> None:
    with pytest.raises(TypeError, match="the name of a label must be a str"):
        check_terms(labels={name: "v"})


@pytest.mark.parametrize("value", [1, None, b"v", ["v"], {"v": "v"}])
def test_the_value_of_a_label_of_another_type(value: Any) -> None:
    with pytest.raises(TypeError, match="label 'a' must be a str"):
        check_terms(labels={"a": value})


@pytest.mark.parametrize("value", ["v" * 257, "ü" * 129, "\ud800"])
def test_the_value_of_a_label_that_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="label 'a'"):
        check_terms(labels={"a": value})


@pytest.mark.parametrize("labels", ["a", b"a", 1, [("a", "b")], ["a"]])
def test_labels_that_are_no_map(labels: Any) -> None:
    with pytest.raises(TypeError, match="labels must be a map"):
        check_terms(labels=labels)


def test_the_labels_of_a_router_are_not_counted() -> None:
    own = {f"own-{number}": "v" for number in range(limits.LABELS_MAX)}
    of_a_router = {f"pagent/{number}": "v" for number in range(limits.ROUTER_LABELS_MAX)}
    assert check_terms(labels=own | of_a_router).labels == own | of_a_router
    with pytest.raises(ValueError, match="at most 16 labels"):
        check_terms(labels=own | {"more": "v"})
    with pytest.raises(ValueError, match="begin with pagent/"):
        check_terms(labels=of_a_router | {"pagent/more": "v"})
    with pytest.raises(ValueError, match="at most 16 labels"):
        check_terms(labels={str(number): "v" for number in range(100_000)})


def test_the_labels_are_the_jobs_own() -> None:
    given_labels = {"a": "b"}
    terms = check_terms(labels=given_labels)
    given_labels["a"] = "c"
    assert terms.labels == {"a": "b"}


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70) | st.binary(max_size=70)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(scalars, scalars, max_size=3)


@settings(max_examples=20)
@given(name=values, linger=values, uid=values, labels=values)
def test_any_other_argument_is_an_error_that_names_it(name: Any, linger: Any, uid: Any, labels: Any) -> None:
    for argument, value in (("name", name), ("linger", linger), ("uid", uid), ("labels", labels)):
        error: Exception | None = None
        try:
            check_terms(**{argument: value})
        except (TypeError, ValueError) as raised:
            error = raised
        assert error is None or argument.removesuffix("s") in str(error)
