"""Check a path from a peer, and split it into its components."""

from __future__ import annotations

import errno
import os

from pagent import limits
from pagent.names import from_wire


def is_plain(name: str) -> bool:
    """Return whether this is one component of a path, and none that leads elsewhere."""
    return name not in ("", ".", "..") and "/" not in name


def components(path: str) -> list[str]:
    """Return the plain components of a relative path, with ``..`` resolved; ValueError or TypeError as of `sandbox`."""
    if not isinstance(path, str):
        raise TypeError(f"file path must be a str, not {type(path).__name__}")
    if path.startswith("/"):
        raise ValueError("file path must be relative")
    if "\0" in path:
        raise ValueError(f"file path contains a NUL: {path!r}")
    try:
        meant = from_wire(path)
    except ValueError as error:
        raise ValueError(f"file path is {error}") from None
    if len(os.fsencode(meant)) > limits.PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path[:80] + "...")
    parts: list[str] = []
    for part in meant.split("/"):
        if part == "..":
            if not parts:
                raise ValueError(f"path leaves the sandbox: {path!r}")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return parts


def file_components(path: str) -> list[str]:
    """Return :func:`components` of the path of a file; ValueError if it is the sandbox itself."""
    parts = components(path)
    if not parts:
        raise ValueError(f"file path names no file: {path!r}")
    return parts
