"""Paths of peers, without a file system. ``test_sandbox.py`` has them with one."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent import limits
from pagent.jobs.paths import components, file_components, is_plain
from pagent.names import to_wire


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/"])
def test_a_name_that_is_none(name: str) -> None:
    assert not is_plain(name)
    assert is_plain("...")
    assert is_plain(" ")


@pytest.mark.parametrize(
    ("path", "parts"),
    [("", []), (".", []), ("a/..", []), ("a//b/./c/", ["a", "b", "c"]), ("a/b/../../c", ["c"]), ("...", ["..."])],
)
def test_the_components_of_a_path(path: str, parts: list[str]) -> None:
    assert components(path) == parts
    if not parts:
        with pytest.raises(ValueError, match="names no file"):
            file_components(path)
    else:
        assert file_components(path) == parts


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_every_name_of_the_system_has_its_path(name: bytes) -> None:
    text = name.decode("utf-8", "surrogateescape")
    if is_plain(text):
        assert components(to_wire(text)) == [text]


def test_a_path_is_as_long_in_bytes_as_the_kernel_takes() -> None:
    longest = "a" * limits.PATH_MAX
    assert components(longest) == [longest]
    for path in (longest + "a", "\u00e4" * (limits.PATH_MAX // 2 + 1), "\U0010feff" * (limits.PATH_MAX + 1)):
        with pytest.raises(OSError, match="too long") as caught:
            components(path)
        assert caught.value.errno == errno.ENAMETOOLONG
        assert len(str(caught.value)) < 2000  # the path is cut
    assert len(components("\U0010feff" * limits.PATH_MAX)) == 1  # each is one byte of the name


@given(st.text(max_size=30))
def test_no_component_leads_out(path: str) -> None:
    try:
        parts = components(path)
    except ValueError:
        parts = []
    assert all(is_plain(part) and "\0" not in part for part in parts)
