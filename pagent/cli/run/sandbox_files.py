"""The files of a job that runs in its sandbox: upload before the start, download at the end."""

from __future__ import annotations

import asyncio
import errno
import filecmp
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pagent.cli.failure import CommandFailed, announce_if_slow, message_of
from pagent.cli.terminal.progress import ProgressLine
from pagent.cli.terminal.standard_streams import say
from pagent.client import RemoteJob
from pagent.errors import CallError, LinkError
from pagent.files.newfile import overwrite

#: Prefix of the agent's own files, which are not results of the job.
_OWN: Final = ".pagent."
#: Names in one message, at most.
_NAMES_MAX: Final = 4


class SandboxFiles:
    """The work of ``--upload`` and ``--keep``, where they are given. ``host``: the agent, as messages name it.

    :raises CommandFailed: ``keep`` is not writable. This is checked before the job is started.
    """

    def __init__(self, job: RemoteJob, host: str, upload: Path | None, keep: Path | None) -> None:
        self._job = job
        self._host = host
        self._upload = upload
        self._keep = keep
        self._started_at = time.time()
        #: Whether the job may have made files.
        self.may_exist = False
        self._before: dict[str, Any] = {}
        if keep is not None:
            _check_writable(keep)

    async def upload(self) -> None:
        """Upload the folder of ``--upload``, if there is one. CallError, LinkError or OSError."""
        if self._upload is None:
            self.may_exist = True
            return
        with ProgressLine(f"uploading {self._upload}", has_messages=True) as line:
            await self._job.upload_folder(self._upload, progress=line.update)
        self._before = await self._files()
        self.may_exist = True

    async def download(self) -> str:
        """Download new and changed files, or print which ones are deleted. Return the failure, or an empty str."""
        try:
            async with announce_if_slow("listing the job's files"):
                now = await self._files()
            changed = sorted(path for path, found in now.items() if found != self._before.get(path))
            if self._keep is None and changed:
                say(f"{_names(changed)} deleted with the job's folder on {self._host}; --keep DIR downloads such files")
            elif self._keep is not None and changed:
                return await self._download_or_rescue(self._keep, now.keys() - set(changed))
        except (CallError, LinkError, OSError) as error:
            if self._keep is None:
                say(f"files that the job made are lost: {message_of(error)}")
            else:
                return f"cannot download the job's files to {self._keep}, they are lost: {message_of(error)}"
        return ""

    def abandon(self) -> str:
        """Give :meth:`download` up. Return the failure, empty if no files were to be downloaded."""
        if self._keep is None:
            say(f"files that the job made on {self._host} are deleted")
            return ""
        return f"the download to {self._keep} was interrupted: files of the job are lost"

    async def _files(self) -> dict[str, Any]:
        """Return the files of the job, each with its size and time, which change when it is written."""
        found = await self._job.list("", recursive=True)
        return {
            entry["path"]: (entry["size"], entry["mtime"])
            for entry in found
            if entry["type"] in ("file", "link") and not entry["path"].startswith(_OWN)
        }

    async def _download_or_rescue(self, keep: Path, unchanged: set[str]) -> str:
        """Download to ``keep``, or to a temporary folder if that cannot be written. Return the failure."""
        try:
            await self._download(keep, unchanged)
        except OSError as error:
            folder = Path(tempfile.mkdtemp(prefix="pagent-kept-"))
            try:
                await self._download(folder, unchanged)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            return f"cannot write the job's files to {keep}: {message_of(error)}; they are in {folder}"
        return ""

    async def _download(self, keep: Path, unchanged: set[str]) -> None:
        part = Path(tempfile.mkdtemp(prefix=".pagent-", dir=keep))
        try:
            with ProgressLine(f"downloading to {keep}", has_messages=True) as line:
                await self._job.download_folder(part, exclude_mask=f"{_OWN}*", progress=line.update)
            placed = await asyncio.to_thread(lambda: list(_move_files(part, keep, unchanged, self._started_at)))
        finally:
            await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
        say(f"{_count(len(placed))} downloaded to {keep}")
        for name, is_renamed in placed:
            if is_renamed:
                say(f"{name} was changed on this machine as well; the job's version is {name}{_RENAMED}")


#: Suffix of a downloaded file if the local file with its name is newer.
_RENAMED: Final = ".job"


def _move_files(part: Path, keep: Path, unchanged: set[str], since: float) -> Iterator[tuple[str, bool]]:
    """Move all files but the unchanged ones to ``keep``. Yield the name of each, and whether it was renamed."""
    for folder, folders, files in os.walk(part):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            source = Path(folder, name)
            path = source.relative_to(part)
            if path.as_posix() in unchanged:
                continue
            target = keep / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if _is_newer(target, source, since):
                source.replace(target.with_name(target.name + _RENAMED))
                yield str(path), True
            else:
                _replace(source, target)
                yield str(path), False


def _replace(source: Path, target: Path) -> None:
    """Move a file over another. One that is mounted cannot be replaced, so it is written in place. OSError."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY or source.is_symlink():
            raise
        with source.open("rb") as read, target.open("r+b") as written:
            overwrite(read.fileno(), written.fileno())


def _is_newer(target: Path, source: Path, since: float) -> bool:
    """Return whether the target was written after ``since``, with other content than the source."""
    if target.is_dir() and not target.is_symlink():
        return True
    if not target.is_file() or target.stat().st_mtime < since:
        return False
    return not (source.is_file() and filecmp.cmp(source, target, shallow=False))


def _check_writable(keep: Path) -> None:
    try:
        keep.mkdir(parents=True, exist_ok=True)
        os.rmdir(tempfile.mkdtemp(prefix=".pagent-", dir=keep))
    except OSError as error:
        raise CommandFailed(f"--keep: cannot write to {keep}: {error.strerror}") from None


def _count(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _names(paths: list[str]) -> str:
    """Return a count, some names and the verb: ``2 files (a, b) are``."""
    listed = ", ".join(paths[:_NAMES_MAX]) + (", ..." if len(paths) > _NAMES_MAX else "")
    return f"{_count(len(paths))} ({listed}) {'is' if len(paths) == 1 else 'are'}"
