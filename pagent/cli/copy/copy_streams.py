"""Copy from standard input, or to standard output, as ``pagent cp`` does with ``-``."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from pagent.cli.copy.copy_places import PathInJob
from pagent.cli.failure import EXIT_NO_SUCH, CommandFailed
from pagent.cli.terminal import standard_streams
from pagent.cli.terminal.standard_input import input_chunks
from pagent.client import RemoteJob
from pagent.client.tree_copy import CopyReport

#: Mask of the agent's own files in the folder of a job.
_OWN: Final = ".pagent.*"


async def copy_from_input(job: RemoteJob, destination: PathInJob, there: str | None) -> CopyReport:
    """Unpack standard input into a folder, or write it to a file."""
    if there == "dir" or destination.is_folder:
        result = await job.unpack(input_chunks(), path=destination.path)
        report = CopyReport(0, result)
        report.skip(result.skipped, result.names)
        return report
    return CopyReport(1, await job.write(destination.path, input_chunks()))


async def copy_to_output(job: RemoteJob, source: PathInJob, kind: str | None) -> int:
    """Write a file, or a folder as a tar file, to standard output."""
    if kind is None:
        raise CommandFailed(f"{source}: no such file or folder", EXIT_NO_SUCH)
    if kind == "dir" and standard_streams.is_terminal(1):
        raise CommandFailed("standard output is a terminal: redirect the tar file, as in > files.tar")
    chunks = job.read_chunks(source.path)
    if kind == "dir":
        chunks = job.pack(path=source.path, exclude_mask=None if source.path else _OWN)
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                await standard_streams.write(1, chunk)
    except BrokenPipeError:
        return 0  # its reader wants no more
    except OSError as error:
        raise CommandFailed(f"standard output cannot be written: {error.strerror}") from None
    return 0
