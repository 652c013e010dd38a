"""The arguments of ``pagent cp``, and where a copy goes: as with ``docker cp``."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import Final

from pagent.cli.failure import EXIT_NO_SUCH, CommandFailed
from pagent.names import from_wire, to_wire

#: Standard input or output.
STREAM: Final = "-"


@dataclass(frozen=True)
class LocalPath:
    """A path of this machine. ``is_content``: the content of a folder is meant; ``is_folder``: it has to be one."""

    path: str
    is_content: bool
    is_folder: bool

    @property
    def name(self) -> str:
        """Return the last name of the path."""
        return os.path.basename(os.path.abspath(self.path))

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class PathInJob:
    """A path in the folder of a job, in the form of `pagent.names`; "" is the folder itself."""

    job: str
    path: str
    is_content: bool
    is_folder: bool

    @property
    def name(self) -> str:
        """Return the last name of the path, as the system has it."""
        return from_wire(posixpath.basename(self.path))

    def __str__(self) -> str:
        return f"{self.job}:{self.path}"


def parse_place(text: str) -> LocalPath | PathInJob | None:
    """Return the place that an argument names, None for a stream."""
    if text == STREAM:
        return None
    job, colon, path = text.partition(":")
    if not (job and colon) or "/" in job:
        return LocalPath(text, _is_content(text), text.endswith("/"))
    normal = posixpath.normpath(path.lstrip("/")) if path.strip("/") else "."
    inner = "" if normal == "." else to_wire(normal)
    return PathInJob(job, inner, not inner or _is_content(path), path.endswith("/"))


def _is_content(path: str) -> bool:
    return path in (".", "/") or path.endswith("/.")


def is_into(
    source: LocalPath | PathInJob, destination: LocalPath | PathInJob, *, source_is_folder: bool, there: str | None
) -> bool:
    """Return whether a copy goes into the destination, under the name of its source, and does not replace it.

    ``there``: the type of the destination, None if it does not exist. CommandFailed if the source cannot be copied
    onto the destination.
    """
    if (source.is_folder or source.is_content) and not source_is_folder:
        raise CommandFailed(f"{source} is not a folder")
    if there == "dir":
        return not (source_is_folder and source.is_content)
    if there is not None and source_is_folder:
        raise CommandFailed(f"{destination} is a file: a folder cannot be copied onto it")
    if there is not None and destination.is_folder:
        raise CommandFailed(f"{destination} is a file, and not a folder")
    if there is None and destination.is_folder and not source_is_folder:
        raise CommandFailed(f"the folder {destination} does not exist", EXIT_NO_SUCH)
    return False
