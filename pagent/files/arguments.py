"""Check the arguments of a transfer. Each function raises TypeError (a bool is not an int) or ValueError."""

from __future__ import annotations

import math
import re
from typing import Final

from pagent import limits
from pagent.files.pax import clamped_ns

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}\Z")


def checked_chunk_size(value: object) -> int:
    """Return an int from 1 to CHUNK_MAX."""
    size = _checked_int("chunk_size", value)
    if not 1 <= size <= limits.CHUNK_MAX:
        raise ValueError(f"chunk_size must be from 1 to {limits.CHUNK_MAX}: {size}")
    return size


def checked_count(name: str, value: object) -> int:
    """Return an int of 0 or more."""
    count = _checked_int(name, value)
    if count < 0:
        raise ValueError(f"{name} must not be negative: {count}")
    return count


def checked_limit(value: object) -> int:
    """Return the most entries of a listing: an int of 1 or more; for None the limit of one answer."""
    if value is None:
        return limits.LISTING_ENTRIES
    limit = _checked_int("limit", value)
    if limit < 1:
        raise ValueError(f"limit must be 1 or more: {limit}")
    return min(limit, limits.LISTING_ENTRIES)


def checked_mask(name: str, value: object) -> str | None:
    """Return a mask of an archive; None for none and for an empty one."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if len(value) > limits.MASK_MAX:
        raise ValueError(f"{name} is longer than {limits.MASK_MAX} characters")
    return value or None


def checked_path(value: object) -> str:
    """Return the path of a folder."""
    if not isinstance(value, str):
        raise TypeError(f"path must be a str, not {type(value).__name__}")
    return value


def checked_folder(value: object) -> str:
    """Return the path of a folder that may not exist, in the one spelling that it has; ``''`` is the sandbox."""
    path = checked_path(value)
    if path and not is_relative_name(path):
        raise ValueError(f"not the path of a folder of the sandbox: {path!r}")
    return path


def checked_names(value: object) -> list[str] | None:
    """Return the names of entries of an archive, each with its parts as they are in a path; None for None."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"names must be a list, not {type(value).__name__}")
    if len(value) > limits.ARCHIVE_NAMES:
        raise ValueError(f"names must be at most {limits.ARCHIVE_NAMES}: {len(value)}")
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"names must be of type str, not {type(name).__name__}")
        if not is_relative_name(name):
            raise ValueError(f"not the name of an entry: {name!r}")
    return list(value)


def is_relative_name(name: str) -> bool:
    """Return whether a path goes down only, and has one spelling."""
    return not any(part in ("", ".", "..") or "\0" in part for part in name.split("/"))


def checked_mode(value: object) -> int | None:
    """Return permission bits; None for None."""
    return None if value is None else checked_count("mode", value) & 0o777


def checked_mtime(value: object) -> int | None:
    """Return a time in nanoseconds, of one in seconds since the epoch; None for None."""
    if value is None:
        return None
    if type(value) not in (int, float) or not isinstance(value, (int, float)):
        raise TypeError(f"mtime must be a number, not {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"mtime must be a number of seconds: {value}")
    return clamped_ns(round(value * 10**9))


def checked_sha256(value: object) -> str | None:
    """Return a digest in lower-case hex digits; None for none."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"sha256 must be a str, not {type(value).__name__}")
    if not _SHA256.match(value):
        raise ValueError("sha256 must be 64 hexadecimal digits")
    return value.lower()


def _checked_int(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    return value
