from __future__ import annotations

from collections.abc import Callable

import pytest

from pagent import limits
from pagent.files.arguments import checked_chunk_size, checked_count, checked_limit, checked_mask, checked_sha256


def count(value: object) -> int:
    return checked_count("offset", value)


def mask(value: object) -> str | None:
    return checked_mask("include_mask", value)


@pytest.mark.parametrize(
    ("check", "value", "expected"),
    [
        (checked_chunk_size, 1, 1),
        (checked_chunk_size, limits.CHUNK_MAX, limits.CHUNK_MAX),
        (count, 0, 0),
        (checked_limit, None, limits.LISTING_ENTRIES),
        (checked_limit, 1, 1),
        (checked_limit, 10**9, limits.LISTING_ENTRIES),
        (mask, None, None),
        (mask, "", None),
        (mask, "*.py", "*.py"),
        (checked_sha256, None, None),
        (checked_sha256, "AB" * 32, "ab" * 32),
    ],
)
def test_valid(check: Callable[[object], object], value: object, expected: object) -> None:
    assert check(value) == expected


@pytest.mark.parametrize(
    ("check", "value", "error", "text"),
    [
        (checked_chunk_size, True, TypeError, "chunk_size must be an int, not bool"),
        (checked_chunk_size, 1.0, TypeError, "chunk_size must be an int, not float"),
        (checked_chunk_size, 0, ValueError, "chunk_size must be from 1 to 1048576: 0"),
        (checked_chunk_size, limits.CHUNK_MAX + 1, ValueError, "from 1 to"),
        (count, "1", TypeError, "offset must be an int, not str"),
        (count, -1, ValueError, "offset must not be negative: -1"),
        (checked_limit, False, TypeError, "limit must be an int, not bool"),
        (checked_limit, 0, ValueError, "limit must be 1 or more: 0"),
        (mask, b"*", TypeError, "include_mask must be a str, not bytes"),
        (mask, "*" * (limits.MASK_MAX + 1), ValueError, "longer than 1024 characters"),
        (checked_sha256, b"ab", TypeError, "sha256 must be a str, not bytes"),
        (checked_sha256, "ab" * 31, ValueError, "64 hexadecimal digits"),
        (checked_sha256, "ab" * 32 + "\n", ValueError, "64 hexadecimal digits"),
    ],
)
def test_invalid(check: Callable[[object], object], value: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        check(value)
