"""Tar archives with given entries."""

from __future__ import annotations

import io
import tarfile


def archive(*entries: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive of headers with their content. The sizes are those of the content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind, errors="surrogateescape") as writer:
        for entry, content in entries:
            entry.size = len(content)
            writer.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """Return a header with given fields."""
    entry = tarfile.TarInfo(name)
    entry.type = kind
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry for :func:`archive`: a header with its content."""
    return info(name, **{"size": len(content), **fields}), content
