"""Names of files: their form on the wire, and those that are the agent's own."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.names import from_wire, is_own, partial_of, to_wire

NAMES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "ignore")),
    st.text("\U0010fe7f\U0010fe80\U0010feff\U0010ff00ä\\x", max_size=8).map(str.encode),
).map(lambda name: name.replace(b"/", b"").replace(b"\0", b""))


@given(NAMES)
def test_each_name_has_one_form_that_is_valid_unicode(name: bytes) -> None:
    system = os.fsdecode(name)
    wire = to_wire(system)
    wire.encode()
    assert from_wire(wire) == system
    assert os.fsencode(from_wire(wire)) == name


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_two_names_have_two_forms(names: list[bytes]) -> None:
    assert len({to_wire(os.fsdecode(name)) for name in names}) == 2


@given(st.text(max_size=20))
def test_ordinary_text_is_its_own_form(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="not valid Unicode"):
            from_wire(text)
        return
    if not any("\U0010fe80" <= char <= "\U0010feff" for char in text):
        assert to_wire(text) == from_wire(text) == text


def test_backslashes_mean_nothing() -> None:
    assert to_wire(r"a\xffb") == from_wire(r"a\xffb") == r"a\xffb"


@pytest.mark.parametrize(
    ("path", "own"),
    [
        (".pagent.stdout", True), ("a/.pagent.stderr", True), (".pagent.x/y", True), ("a/../.pagent.stdout", True),
        (".pagent-upload-0", True), (".pagent-spool-0", True), (".pagent-gone-0", True),
        (".pagent", False), ("pagent.stdout", False), ("a.pagent.b", False), ("a.pagent-partial", False), ("", False),
    ],
)  # fmt: skip
def test_names_of_the_agents_own_files(path: str, own: bool) -> None:
    assert is_own(path) is own


@given(NAMES.filter(lambda name: 0 < len(name) <= 255))
def test_the_name_of_a_part_fits(name: bytes) -> None:
    part = partial_of("d/" + to_wire(os.fsdecode(name)))
    encoded = os.fsencode(from_wire(part))
    assert encoded.startswith(b"d/")
    assert len(encoded) <= 2 + 255
    assert part.endswith(".pagent-partial")


def test_long_names_with_one_beginning_have_two_parts() -> None:
    assert partial_of("x" * 254 + "a") != partial_of("x" * 254 + "b")
