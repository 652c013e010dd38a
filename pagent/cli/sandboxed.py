"""The files of a job that runs in a folder of its own: brought there, fetched at the end, or named as lost."""

from __future__ import annotations

import asyncio
import filecmp
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pagent.cli.ended import PATIENCE_S, Ended, slow, text_of
from pagent.cli.terminal import say
from pagent.client import RemoteJob
from pagent.errors import CallError, LinkError
from pagent.limits import MIB

#: The agent's own files, which are no results.
_OWN: Final = ".pagent."
#: Most names that a line has.
_NAMED: Final = 4
#: Seconds between two lines about a transfer.
_STEP_S: Final = 10.0


class SandboxFiles:
    """What ``--upload`` and ``--keep`` ask for, if they do. ``where``: the agent, as a message names it.

    :raises Ended: nothing can be written to ``keep``; found before anything is started that would be in vain.
    """

    def __init__(self, job: RemoteJob, where: str, upload: Path | None, keep: Path | None) -> None:
        self._job = job
        self._where = where
        self._upload = upload
        self._keep = keep
        self._began = time.time()
        #: Whether there can be files of the job.
        self.has_begun = False
        self._before: dict[str, Any] = {}
        if keep is not None:
            _check_writable(keep)

    async def bring(self) -> None:
        """Upload, if that is asked for. CallError, LinkError or OSError."""
        if self._upload is None:
            self.has_begun = True
            return
        with _Steps(f"uploading {self._upload}") as steps:
            await self._job.upload_folder(self._upload, progress=steps.take)
        self._before = await self._files()
        self.has_begun = True

    async def fetch(self) -> str:
        """Download what is new or changed, or say what is lost. Returns what went wrong, empty if nothing did."""
        try:
            async with slow("looking at the job's files"):
                now = await self._files()
            changed = sorted(path for path, found in now.items() if found != self._before.get(path))
            if self._keep is None and changed:
                say(f"{_some(changed)} deleted with the job's folder on {self._where}; --keep DIR keeps such files")
            elif self._keep is not None and changed:
                await self._download(self._keep, now.keys() - set(changed))
        except (CallError, LinkError, OSError) as error:
            if self._keep is None:
                say(f"the files of the job, if it made any, are lost: {text_of(error)}")
            else:
                return f"the files of the job could not be downloaded to {self._keep} and are lost: {text_of(error)}"
        return ""

    def given_up(self) -> str:
        """Return what it costs that there is no time for :meth:`fetch`."""
        if self._keep is None:
            say(f"the files of the job on {self._where}, if it made any, are deleted")
            return ""
        return f"the download to {self._keep} was broken off: files of the job are lost"

    async def _files(self) -> dict[str, Any]:
        """The files of the job, with what changes when they are written."""
        found = await self._job.list("", recursive=True)
        return {
            entry["path"]: (entry["size"], entry["mtime"])
            for entry in found
            if entry["type"] in ("file", "link") and not entry["path"].startswith(_OWN)
        }

    async def _download(self, keep: Path, unchanged: set[str]) -> None:
        part = Path(tempfile.mkdtemp(prefix=".pagent-", dir=keep))
        try:
            with _Steps(f"downloading to {keep}") as steps:
                await self._job.download_folder(part, exclude_mask=f"{_OWN}*", progress=steps.take)
            placed = await asyncio.to_thread(lambda: list(_put_in_place(part, keep, unchanged, self._began)))
        finally:
            await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
        say(f"{_count(len(placed))} downloaded to {keep}")
        for name, is_beside in placed:
            if is_beside:
                say(f"{name} was changed here meanwhile; the job's version is {name}{_BESIDE}")


#: What the name of a file gets whose own place is taken by something newer.
_BESIDE: Final = ".job"


def _put_in_place(part: Path, keep: Path, unchanged: set[str], began: float) -> Iterator[tuple[str, bool]]:
    """Move the other files to their places; yield the name of each, and whether it is put beside what was there."""
    for folder, folders, files in os.walk(part):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            source = Path(folder, name)
            path = source.relative_to(part)
            if path.as_posix() in unchanged:
                continue
            target = keep / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if _is_newer(target, source, began):
                source.replace(target.with_name(target.name + _BESIDE))
                yield str(path), True
            else:
                source.replace(target)
                yield str(path), False


def _is_newer(target: Path, source: Path, began: float) -> bool:
    """Return whether something is there that was written since the start and is not the same."""
    if target.is_dir() and not target.is_symlink():
        return True
    if not target.is_file() or target.stat().st_mtime < began:
        return False
    return not (source.is_file() and filecmp.cmp(source, target, shallow=False))


def _check_writable(keep: Path) -> None:
    try:
        keep.mkdir(parents=True, exist_ok=True)
        os.rmdir(tempfile.mkdtemp(prefix=".pagent-", dir=keep))
    except OSError as error:
        raise Ended(f"--keep: nothing can be written to {keep}: {error.strerror}") from None


def _count(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _some(paths: list[str]) -> str:
    """Return a count, some names and the verb, as ``2 files (a, b) are``."""
    shown = ", ".join(paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")
    return f"{_count(len(paths))} ({shown}) {'is' if len(paths) == 1 else 'are'}"


class _Steps:
    """Says how far a transfer is, if it takes long. ``take`` is its progress."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._done = self._total = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, done: int, total: int) -> None:
        self._done, self._total = done, total

    def __enter__(self) -> _Steps:
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._timer is not None
        self._timer.cancel()

    def _tell(self) -> None:
        say(f"{self._what}: {self._done / MIB:.1f} of {self._total / MIB:.1f} MiB")
        self._timer = asyncio.get_running_loop().call_later(_STEP_S, self._tell)
