"""The parts in which a folder is copied, and entries that an agent has listed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.client.tree import (
    BATCH_BYTES,
    BATCH_ENTRIES,
    COMPARED,
    LARGE,
    Tree,
    batches,
    folder_batches,
    listed_entries,
    seems_same,
)
from pagent.files.entries import SandboxEntry


def entry(path: str, size: int = 0, kind: str = "file", **more: Any) -> SandboxEntry:
    return SandboxEntry(path, kind, size, **more)


def test_each_kind_has_its_place() -> None:
    tree = Tree()
    for each in (
        entry("d", kind="dir"), entry("l", kind="link"), entry("o", kind="other"), entry("s", LARGE - 1),
        entry("b", LARGE), entry("e", 5, error="permission denied"), entry("x", kind="dir", error="unreadable"),
    ):  # fmt: skip
        tree.add(each)
    assert [each.path for each in tree.folders] == ["d", "x"]
    assert [each.path for each in tree.small] == ["l", "s"]
    assert [each.path for each in tree.large] == ["b"]
    assert tree.size == 2 * LARGE - 1
    assert tree.skipped.names == [
        "o: neither a file nor a folder nor a link", "e: permission denied", "x: unreadable",
    ]  # fmt: skip
    assert [each.path for each in tree.without({"s"}).small] == ["l"]


@given(st.lists(st.integers(0, LARGE), max_size=50))
def test_batches_are_bounded_and_lose_nothing(sizes: list[int]) -> None:
    entries = [entry(str(at), size) for at, size in enumerate(sizes)]
    found = list(batches(entries))
    assert [each for batch in found for each in batch] == entries
    assert all(len(batch) == 1 or sum(each.size for each in batch) <= BATCH_BYTES for batch in found)
    assert len(list(batches([entry("x")] * (2 * BATCH_ENTRIES + 1)))) == 3


def test_folders_come_after_those_below_them() -> None:
    folders = [entry(f"{number:05}", kind="dir") for number in range(2 * BATCH_ENTRIES + 1)]
    found = list(folder_batches(folders))
    assert [len(batch) for batch in found] == [BATCH_ENTRIES, BATCH_ENTRIES, 1]
    assert [each for batch in reversed(found) for each in batch] == folders


def test_files_that_may_be_the_same() -> None:
    one = entry("f", COMPARED, mode=0o644, mtime_ns=10**18 + 100)
    assert seems_same(one, one._replace(mtime_ns=10**18))
    for other in (
        None, one._replace(size=COMPARED + 1), one._replace(mode=0o600), one._replace(mtime_ns=10**18 + 10**6),
        one._replace(kind="link"),
    ):  # fmt: skip
        assert not seems_same(one, other)
    assert not seems_same(one._replace(size=1), one._replace(size=1))


LISTED: dict[str, Any] = {"path": "d/f", "type": "file", "size": 5, "mode": 0o100644, "mtime": 1.5}


def test_a_listed_entry() -> None:
    assert list(listed_entries([LISTED], "d/")) == [entry("f", 5, mode=0o644, mtime_ns=1_500_000_000)]
    (found,) = listed_entries([{**LISTED, "error": 5}], "")
    assert (found.path, found.error) == ("d/f", "5")


@pytest.mark.parametrize(
    "change",
    [
        {"path": path}
        for path in ("f", "d/", "d//f", "d/../f", "d/..", "/d/f", "d/./f", "d/a\0", "e/f", 5, None, "../../etc/passwd")
    ]
    + [{"type": "device"}, {"size": -1}, {"size": "5"}, {"mode": None}, {"mtime": float("nan")}, {"mtime": "1"}],
)
def test_an_entry_that_no_agent_lists_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the agent has listed an invalid"):
        list(listed_entries([{**LISTED, **change}], "d/"))
