"""The work of ``pagent cp``."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import click

from pagent.cli.copy.copy_places import LocalPath, PathInJob, is_into, parse_place
from pagent.cli.copy.copy_streams import copy_from_input, copy_to_output
from pagent.cli.failure import EXIT_FAILED, EXIT_NO_SUCH, CommandFailed, exit_code_for
from pagent.cli.naming import find_job
from pagent.cli.terminal.progress import ProgressLine
from pagent.cli.terminal.sizes import size_of
from pagent.cli.terminal.standard_streams import say
from pagent.client import AgentClient, RemoteJob
from pagent.client.partial_file import PARTIAL_PREFIX
from pagent.client.resumption import Resumption
from pagent.client.tree_copy import CopyReport, TreeCopy
from pagent.client.tree_download import TreeDownload
from pagent.client.tree_upload import TreeUpload
from pagent.errors import MethodError
from pagent.log import escape
from pagent.names import PARTIAL_SUFFIX, from_wire, to_wire

#: Entries that were not copied and that are named, at most.
_NAMED: Final = 10
_ERRNO: Final = re.compile(r"^\[Errno \d+\] ")
_OLD_AGENT: Final = "the agent is of an earlier release, which cannot copy files with their modes and times"


async def copy(client: AgentClient, source: str, destination: str, *, quiet: bool) -> int:
    """Copy a file or a folder, and return the exit code."""
    match parse_place(source), parse_place(destination):
        case (LocalPath() as here, PathInJob() as there):
            return await _Copy(client, await find_job(client, there.job), quiet=quiet).upload(here, there)
        case (PathInJob() as there, LocalPath() as here):
            return await _Copy(client, await find_job(client, there.job), quiet=quiet).download(there, here)
        case (None, PathInJob() as there):
            job = await find_job(client, there.job)
            async with _clear_failures(str(there), "cannot read standard input", resumes=False):
                return _end(await copy_from_input(job, there, await kind_at(job, there.path)))
        case (PathInJob() as there, None):
            job = await find_job(client, there.job)
            async with _clear_failures(str(there), "cannot write to standard output", resumes=False):
                return await copy_to_output(job, there, await kind_at(job, there.path))
    raise click.UsageError("one of SRC and DST has to be JOB:PATH, and the other a path of this machine")


class _Copy:
    """One copy between this machine and a job."""

    def __init__(self, client: AgentClient, job: RemoteJob, *, quiet: bool) -> None:
        self._client = client
        self._job = job
        self._quiet = quiet

    async def upload(self, source: LocalPath, destination: PathInJob) -> int:
        """Copy to the job."""
        found = _status(source)
        is_folder = stat.S_ISDIR(found.st_mode)
        with self._line(f"{source.name} to {destination.job}") as line:
            steps = Resumption(self._client.link, self._job, line.say)
            async with _clear_failures(str(destination), f"cannot read {source}"):
                there = await steps.run(lambda: kind_at(self._job, destination.path))
                path = destination.path
                if is_into(source, destination, source_is_folder=is_folder, there=there):
                    path = f"{path}/{to_wire(source.name)}".lstrip("/")
                if is_folder:
                    report = await self._copy_tree(TreeUpload, source, path, line)
                else:
                    report = CopyReport(1, await self._upload_file(steps, source.path, path, found, line))
        return self._finished(report, line)

    async def _upload_file(
        self, steps: Resumption, path: str, target: str, found: os.stat_result, line: ProgressLine
    ) -> int:
        mode, mtime = found.st_mode & 0o777, found.st_mtime
        return await steps.copy(
            lambda progress: self._job.upload(path, target, resume=True, mode=mode, mtime=mtime, progress=progress),
            line.update,
        )

    async def download(self, source: PathInJob, destination: LocalPath) -> int:
        """Copy from the job."""
        with self._line(f"{source.name or source.job} from {source.job}") as line:
            steps = Resumption(self._client.link, self._job, line.say)
            async with _clear_failures(str(source), f"cannot write to {destination}"):
                kind = await steps.run(lambda: kind_at(self._job, source.path))
                if kind is None:
                    raise CommandFailed(f"{source}: no such file or folder", EXIT_NO_SUCH)
                if kind == "other":
                    raise CommandFailed(f"{source} is neither a file nor a folder")
                target = _local_target(source, destination, source_is_folder=kind == "dir")
                if kind == "dir":
                    report = await self._copy_tree(TreeDownload, source, target, line)
                else:
                    report = CopyReport(1, await self._download_file(steps, source.path, target, line))
        return self._finished(report, line)

    async def _download_file(self, steps: Resumption, path: str, target: str, line: ProgressLine) -> int:
        options: dict[str, Any] = {}
        if _can_be_replaced(target):
            found = await steps.run(lambda: self._job.stat(path))
            options = {"resume": True}
            if found["type"] == "file":
                options |= {"mode": found["mode"] & 0o777, "mtime": found["mtime"]}
        return await steps.copy(
            lambda progress: self._job.download(path, target, progress=progress, **options), line.update
        )

    async def _copy_tree(
        self, kind: type[TreeCopy], source: LocalPath | PathInJob, target: str, line: ProgressLine
    ) -> CopyReport:
        tree = kind(
            self._client.link, self._job, source.path, target, line.update, line.say, with_top=not source.is_content
        )
        await tree.run()
        return tree.report

    def _line(self, label: str) -> ProgressLine:
        return ProgressLine(label, quiet=self._quiet)

    def _finished(self, report: CopyReport, line: ProgressLine) -> int:
        """Print the files that were copied, if on a terminal, and those that were not."""
        if line.is_drawn:
            files = "1 file" if report.files == 1 else f"{report.files:,} files"
            same = f", {report.unchanged:,} unchanged" if report.unchanged else ""
            say(f"copied {files}, {size_of(report.size)} in {line.seconds():.1f} s{same}")
        return _end(report)


def _end(report: CopyReport) -> int:
    """Name the entries that were not copied, and return the exit code."""
    for reason in report.reasons[:_NAMED]:
        say(escape(f"not copied: {reason}"))
    if report.skipped > _NAMED:
        say(f"not copied: {report.skipped - _NAMED:,} more")
    return EXIT_FAILED if report.skipped else 0


def _status(source: LocalPath) -> os.stat_result:
    """Return the status of the file or folder that is copied to a job. CommandFailed."""
    try:
        found = os.stat(source.path)
    except OSError as error:
        code = EXIT_NO_SUCH if isinstance(error, FileNotFoundError) else EXIT_FAILED
        raise CommandFailed(f"{source}: {error.strerror}", code) from None
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise CommandFailed(f"{source} is neither a file nor a folder; to copy what it sends, use - as SRC")
    return found


def _local_target(source: PathInJob, destination: LocalPath, *, source_is_folder: bool) -> str:
    """Return the path of the copy on this machine. CommandFailed."""
    there = None
    if os.path.lexists(destination.path):
        there = "dir" if os.path.isdir(destination.path) else "file"
    target = destination.path
    if is_into(source, destination, source_is_folder=source_is_folder, there=there):
        return os.path.join(target, source.name)
    folder = os.path.dirname(os.path.abspath(target))
    if there is None and not os.path.isdir(folder):
        if os.path.lexists(folder):
            raise CommandFailed(f"{folder} is not a folder")
        raise CommandFailed(f"the folder {folder} does not exist", EXIT_NO_SUCH)
    return target


def _can_be_replaced(target: str) -> bool:
    """Return whether a target is a file or nothing yet; the data for a device or a FIFO is written into it."""
    return not os.path.exists(target) or os.path.isfile(target)


async def kind_at(job: RemoteJob, path: str) -> str | None:
    """Return the type of a job's path: ``file``, ``dir`` or ``other``; None if there is none. Links are followed."""
    if not path:
        return "dir"
    try:
        kind: str = (await job.stat(path))["type"]
        if kind != "link":
            return kind
        await job.list(path, limit=1)
    except MethodError as error:
        if error.cause_type == "NotADirectoryError":
            return "file"
        if error.cause_type != "FileNotFoundError":
            raise
        return None
    return "dir"


@asynccontextmanager
async def _clear_failures(remote: str, local: str, *, resumes: bool = True) -> AsyncIterator[None]:
    """Name the side of a failure in its message.

    :param local: the first words of a failure of this machine.
    :param resumes: whether the same command resumes a copy that was interrupted.
    """
    try:
        yield
    except asyncio.CancelledError:
        say("interrupted: the same command resumes the copy" if resumes else "interrupted: the copy is incomplete")
        raise
    except MethodError as error:
        raise CommandFailed(_text_of(error, remote), exit_code_for(error)) from error
    except OSError as error:
        name = f": {from_wire(str(error.filename))!r}" if error.filename and not _is_temporary(error.filename) else ""
        raise CommandFailed(f"{local}: {error.strerror or error}{name}") from error
    except ValueError as error:
        raise CommandFailed(f"{remote}: {error}") from error


def _is_temporary(path: object) -> bool:
    return os.path.basename(str(path)).startswith(PARTIAL_PREFIX)


def _text_of(error: MethodError, remote: str) -> str:
    if error.cause_type == "TypeError":
        return _OLD_AGENT
    remote = remote.rstrip(":")  # of the folder of a job itself
    text = _ERRNO.sub("", error.cause_message or str(error)).replace(f"{PARTIAL_SUFFIX}'", "'")
    if text.startswith(os.strerror(errno.ENOSPC)):
        return f"{remote}: the disk of the agent is full: {text}"
    return f"{remote}: {text}"
