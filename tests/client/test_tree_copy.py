"""The steps that both directions of a copy share."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from pagent.client import RemoteJob
from pagent.client.archives import ArchiveSize
from pagent.client.link import ClientLink
from pagent.client.local_files import Progress
from pagent.client.tree import COMPARED, LARGE, Tree
from pagent.client.tree_copy import TreeCopy
from pagent.errors import MethodError
from pagent.files.entries import SandboxEntry

FILES = [SandboxEntry(f"f{number}", "file", COMPARED, 0o644, 0) for number in range(3)]


class Copy(TreeCopy):
    """Copies nowhere. ``same``: the files that are at the target; ``broken``: one whose comparison fails."""

    def __init__(self, tree: Tree, *, same: tuple[str, ...] = (), broken: str = "") -> None:
        self.steps: list[tuple[int, int]] = []
        self.sent: list[str] = []
        self.ended: list[str] = []
        self._tree = tree
        self._known = same
        self._broken = broken
        link, job = cast(ClientLink, None), cast(RemoteJob, None)
        super().__init__(link, job, "source", "", lambda *step: self.steps.append(step), self.sent.append)

    async def run(self) -> None:
        await self._copy(self._tree, {entry.path: entry for entry in self._tree.small})

    async def _transfer(self, names: list[str], progress: Progress) -> ArchiveSize:
        self.sent += names
        progress(1, 2)
        return ArchiveSize.of({"size": 1, "skipped": 1, "names": ["x: refused"]})

    async def _transfer_large(self, entry: SandboxEntry, progress: Progress) -> None:
        self.sent.append(entry.path)
        progress(2 * entry.size, 2 * entry.size)  # a file that grows meanwhile

    async def _is_same(self, path: str) -> bool:
        if path == self._broken:
            raise MethodError("x", "FileNotFoundError", "")
        if self._broken:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.append(path)
        return path in self._known


async def test_files_that_are_at_the_target_are_not_copied() -> None:
    large = SandboxEntry("large", "file", LARGE, 0o644, 0)
    folder = SandboxEntry("d", "dir")
    copy = Copy(Tree([folder], FILES, [large]), same=("f0",))
    await copy.run()
    assert copy.sent == ["f1", "f2", "large", "d"]
    total = 3 * COMPARED + LARGE
    assert copy.steps == [(COMPARED, total), (2 * COMPARED, total), (total, total)]
    assert (copy.report.files, copy.report.unchanged, copy.report.size) == (3, 1, total - COMPARED)
    assert (copy.report.skipped, copy.report.reasons) == (2, ["x: refused"] * 2)


async def test_an_error_of_one_comparison_ends_the_others() -> None:
    copy = Copy(Tree(small=FILES), broken="f2")
    with pytest.raises(MethodError):
        await copy.run()
    assert copy.ended == ["f0", "f1"]
