"""Copy a folder of the sandbox of a job into a local folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice

from pagent.client.archives import ArchiveSize
from pagent.client.local_files import Progress, local_folder
from pagent.client.tree import COMPARED, Tree, digest_of, listed_entries
from pagent.client.tree_copy import TreeCopy
from pagent.files.disk_work import DISK_TURN_ENTRIES
from pagent.files.entries import SandboxEntry
from pagent.files.listing import entry_at
from pagent.jobs.sandbox import Sandbox
from pagent.names import from_wire, is_own, is_partial


class TreeDownload(TreeCopy):
    """Copies the content of a folder of the sandbox to a local folder, which is made if it is missing.

    Of the sandbox itself, the agent's own files are not copied.
    """

    async def run(self) -> None:
        """Copy. MethodError, OSError, LinkClosedError; ValueError if the agent names a path outside the folder."""
        tree = await self._tree()
        await self._copy(tree, await self._there(tree))
        if self._with_top and self._source:
            found = await self._steps.run(lambda: self._job.stat(self._source))
            if found["type"] == "dir":
                await asyncio.to_thread(_set_attributes, self._target, found["mode"], found["mtime"])

    async def _tree(self) -> Tree:
        found = await self._steps.run(lambda: self._job.list(self._source, recursive=True))
        prefix = f"{self._source}/" if self._source else ""
        tree = Tree()
        for entry in listed_entries(found, prefix):
            if not (is_partial(entry.path) or (not prefix and is_own(entry.path))):
                tree.add(entry)
        return tree

    async def _there(self, tree: Tree) -> Mapping[str, SandboxEntry]:
        """Return the files of the source that the target has."""
        there: dict[str, SandboxEntry] = {}
        paths = iter([entry.path for entry in (*tree.small, *tree.large) if entry.size >= COMPARED])
        async with local_folder(self._target, create=True) as (threads, folder):
            while turn := list(islice(paths, DISK_TURN_ENTRIES)):
                there.update(await threads.run(_existing, folder, turn))
        return there

    async def _transfer(self, names: list[str], progress: Progress) -> ArchiveSize:
        return await self._job.download_folder(self._target, path=self._source, names=names, progress=progress)

    async def _transfer_large(self, entry: SandboxEntry, progress: Progress) -> None:
        async with local_folder(self._target) as (threads, folder):
            await threads.run(_make_parent, folder, entry.path)
        await self._job.download(
            self._remote(entry.path),
            os.path.join(self._target, from_wire(entry.path)),
            resume=True,
            mode=entry.mode & 0o777,
            mtime=entry.mtime_ns / 10**9,
            follow=False,
            progress=progress,
        )

    async def _is_same(self, path: str) -> bool:
        theirs = await self._job.stat(self._remote(path), sha256=True)
        async with local_folder(self._target) as (threads, folder):
            return bool(theirs["sha256"] == await threads.run(lambda: digest_of(folder.open_read(path))))

    def _remote(self, path: str) -> str:
        return f"{self._source}/{path}" if self._source else path


def _existing(folder: Sandbox, paths: Iterable[str]) -> dict[str, SandboxEntry]:
    """Return the status of paths of a local folder, without those that cannot be read."""
    found = {}
    for path in paths:
        with suppress(OSError, ValueError):
            found[path] = entry_at(folder, path)
    return found


def _set_attributes(folder: str, mode: int, mtime: float) -> None:
    os.chmod(folder, mode & 0o777)
    os.utime(folder, (mtime, mtime))


def _make_parent(folder: Sandbox, path: str) -> None:
    """Make the folders above a path. ValueError: it leaves the folder through a link."""
    place, _ = folder.open_parent(path, create=True)
    os.close(place)
