"""Copy a local folder into the sandbox of a job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from pagent.client.archives import ArchiveSize
from pagent.client.local_files import Progress, local_folder
from pagent.client.tree import COMPARED, Tree, digest_of, listed_entries
from pagent.client.tree_copy import TreeCopy
from pagent.errors import MethodError
from pagent.files.disk_work import DISK_TURN_ENTRIES
from pagent.files.entries import SandboxEntry
from pagent.files.walk import walk
from pagent.names import from_wire, is_partial, is_unfinished

#: Errors of the listing of a folder that does not exist.
_MISSING: Final = ("FileNotFoundError", "NotADirectoryError")


class TreeUpload(TreeCopy):
    """Copies the content of a local folder to a folder of the sandbox, which is made if it is missing."""

    async def run(self) -> None:
        """Copy. MethodError, OSError, LinkClosedError."""
        tree = await self._tree()
        await self._copy(tree, await self._there(tree))

    async def _tree(self) -> Tree:
        tree = Tree()
        if self._with_top and self._target:
            tree.folders.append(SandboxEntry("", "dir"))  # in archives, the target itself
        async with local_folder(self._source) as (threads, folder):
            found = walk(folder)
            while turn := await threads.run(_turn, found):
                for entry in turn:
                    if not (is_partial(entry.path) or is_unfinished(entry.path)):
                        tree.add(entry)
        return tree

    async def _there(self, tree: Tree) -> Mapping[str, SandboxEntry]:
        """Return the entries of the target, if files of the source can be among them."""
        if not any(entry.size >= COMPARED for entry in (*tree.small, *tree.large)):
            return {}
        prefix = f"{self._target}/" if self._target else ""
        try:
            found = await self._steps.run(lambda: self._job.list(self._target, recursive=True))
        except MethodError as error:
            if error.cause_type not in _MISSING:
                raise
            return {}
        return {entry.path: entry for entry in listed_entries(found, prefix)}

    async def _transfer(self, names: list[str], progress: Progress) -> ArchiveSize:
        return await self._job.upload_folder(self._source, path=self._target, names=names, progress=progress)

    async def _transfer_large(self, entry: SandboxEntry, progress: Progress) -> None:
        mtime = entry.mtime_ns / 10**9
        await self._job.upload(
            self._local(entry.path),
            self._remote(entry.path),
            resume=True,
            mode=entry.mode & 0o777,
            mtime=mtime,
            progress=progress,
        )

    async def _is_same(self, path: str) -> bool:
        theirs = await self._job.stat(self._remote(path), sha256=True)
        async with local_folder(self._source) as (threads, folder):
            return bool(theirs["sha256"] == await threads.run(lambda: digest_of(folder.open_read(path))))

    def _local(self, path: str) -> str:
        return os.path.join(self._source, from_wire(path))

    def _remote(self, path: str) -> str:
        return f"{self._target}/{path}" if self._target else path


def _turn(found: Iterator[SandboxEntry]) -> list[SandboxEntry]:
    return list(islice(found, DISK_TURN_ENTRIES))
