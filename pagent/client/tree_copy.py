"""The parts of both directions of a copy of a folder: steps, progress, and files that exist already."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pagent.client.archives import ArchiveSize
from pagent.client.job import RemoteJob
from pagent.client.link import ClientLink
from pagent.client.local_files import Progress, no_progress
from pagent.client.resumption import Resumption
from pagent.client.tree import COMPARED_AT_ONCE, Tree, batches, folder_batches, seems_same
from pagent.files.entries import SandboxEntry

T = TypeVar("T")


@dataclass
class CopyReport:
    """The result of a copy. ``unchanged`` files were at the target already; ``skipped`` has names with reasons."""

    files: int = 0
    size: int = 0
    unchanged: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)

    def skip(self, count: int, reasons: Sequence[str]) -> None:
        """Count entries that were not copied."""
        self.skipped += count
        self.reasons += reasons


class TreeCopy(ABC):
    """Copies a tree in steps, each of which is repeated if the link is lost meanwhile.

    ``progress`` counts bytes of files. ``source`` and ``target`` are the folders; on the side of the job "" is its own.
    ``with_top``: the folder gets the mode and the time of its source as well.
    """

    def __init__(
        self,
        link: ClientLink,
        job: RemoteJob,
        source: str,
        target: str,
        progress: Progress,
        notify: Callable[[str], None],
        *,
        with_top: bool = False,
    ) -> None:
        # For life.
        self._job = job
        self._source = source
        self._target = target
        self._steps = Resumption(link, job, notify)
        self._progress = progress
        self._with_top = with_top
        # While it runs.
        self._done = self._total = 0
        self.report = CopyReport()

    @abstractmethod
    async def run(self) -> None:
        """Copy the content of the source. MethodError, OSError, LinkClosedError."""

    async def _copy(self, tree: Tree, there: Mapping[str, SandboxEntry]) -> None:
        """Copy a tree to a target that has the files ``there``."""
        self._total = tree.size
        same = await self._same(tree, there)
        left = tree.without(same)
        self._done = self._total - left.size
        self._progress(self._done, self._total)
        for batch in batches(left.small):
            await self._copy_batch(batch)
        for entry in left.large:
            await self._copy_large(entry)
        for batch in folder_batches(tree.folders):
            await self._copy_folders([entry.path for entry in batch])
        self.report.unchanged = len(same)
        self.report.files = len(left.small) + len(left.large)
        self.report.size = left.size
        self.report.skip(tree.skipped.count, [f"{self._source}/{name}" for name in tree.skipped.names])

    async def _copy_folders(self, names: list[str]) -> None:
        result = await self._steps.run(lambda: self._transfer(names, no_progress))
        self.report.skip(result.skipped, result.names)

    async def _copy_batch(self, batch: list[SandboxEntry]) -> None:
        names, size = [entry.path for entry in batch], sum(entry.size for entry in batch)

        def step(done: int, total: int) -> None:
            self._progress(self._done + size * done // max(total, 1), self._total)

        result = await self._steps.run(lambda: self._transfer(names, step))
        self._done += size
        self.report.skip(result.skipped, result.names)

    async def _copy_large(self, entry: SandboxEntry) -> None:
        def step(done: int, total: int) -> None:
            self._progress(self._done + min(done, entry.size), self._total)

        await self._steps.copy(lambda progress: self._transfer_large(entry, progress), step)
        self._done += entry.size

    async def _same(self, tree: Tree, there: Mapping[str, SandboxEntry]) -> set[str]:
        """Return the paths of the files that are at the target already, by their digests."""
        alike = [entry.path for entry in (*tree.small, *tree.large) if seems_same(entry, there.get(entry.path))]
        same: set[str] = set()
        for at in range(0, len(alike), COMPARED_AT_ONCE):
            some = alike[at : at + COMPARED_AT_ONCE]
            are_same = await _together([self._compared(path) for path in some])
            same.update(path for path, is_same in zip(some, are_same, strict=True) if is_same)
        return same

    async def _compared(self, path: str) -> bool:
        return await self._steps.run(lambda: self._is_same(path))

    @abstractmethod
    async def _transfer(self, names: list[str], progress: Progress) -> ArchiveSize:
        """Copy entries in one archive."""

    @abstractmethod
    async def _transfer_large(self, entry: SandboxEntry, progress: Progress) -> None:
        """Copy a file, or the rest of one."""

    @abstractmethod
    async def _is_same(self, path: str) -> bool:
        """Return whether a file has the same content on both sides."""


async def _together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all results. The first error ends the rest of the work, and is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
