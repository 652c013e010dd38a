"""The target of a request (RFC 9112 section 3.2), from a caller's path and query.

Callers are peers, and an argument may be of any type: each fault is a ValueError or a TypeError.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any, Final

from pagent.limits import REQUEST_HEAD_MAX

#: A name and its value.
Pair = Sequence[str]

_SEQUENCES: Final = (list, tuple)

# pchar and "/" of RFC 3986. A query excludes characters that have a meaning for form decoders, and adds "?".
_PATH_SAFE: Final = "-._~!$&'()*+,;=:@/"
_QUERY_SAFE: Final = "-._~!$'()*,:@/?"
_is_safe_path = re.compile(rf"/[0-9A-Za-z{re.escape(_PATH_SAFE)}]*").fullmatch
_is_safe_query = re.compile(rf"[0-9A-Za-z{re.escape(_QUERY_SAFE)}]*").fullmatch
_control = re.compile(r"[\x00-\x1f\x7f]").search


def _quoting(safe: str) -> list[str]:
    """Return the encoded form of each byte of UTF-8."""
    kept = set(safe + string.ascii_letters + string.digits)
    return [chr(byte) if chr(byte) in kept else f"%{byte:02X}" for byte in range(256)]


_BEYOND_ASCII: Final = {byte: f"%{byte:02X}" for byte in range(0x80, 0x100)}
_PATH_QUOTING: Final = _quoting(_PATH_SAFE)
_QUERY_QUOTING: Final = _quoting(_QUERY_SAFE)


def encode_target(path: Any, query: Sequence[Pair]) -> str:
    """Return the target of a percent-decoded path and of decoded pairs."""
    if not isinstance(path, str):
        raise TypeError("the path must be a string")
    target: str = path
    if len(target) > REQUEST_HEAD_MAX:
        raise ValueError("the path is too long")
    if _is_safe_path(target) is None:
        target = _quote(target if target.startswith("/") else "/" + target, _PATH_QUOTING, "path")
    if not query and isinstance(query, _SEQUENCES):
        return target
    check_pairs(query, "query", REQUEST_HEAD_MAX)
    if sum(len(name) + len(value) + 2 for name, value in query) > REQUEST_HEAD_MAX:
        raise ValueError("the query is too long")
    return target + "?" + "&".join([f"{_quote_query(name)}={_quote_query(value)}" for name, value in query])


def encode_target_bytes(head: bytes) -> bytes:
    """Return the head of a request with the bytes of its target that are not ASCII percent-encoded."""
    line, end, fields = head.partition(b"\r\n")
    return line.decode("latin-1").translate(_BEYOND_ASCII).encode() + end + fields


def check_target(method: Any, target: Any) -> None:
    """Accept a target in origin form, and ``*`` for OPTIONS (RFC 9112 3.2.1, 3.2.4).

    The absolute form is for proxies, and could name another host than the Host field.
    """
    if not isinstance(target, str):
        raise TypeError("the target must be a string")
    if not _is_origin_form(target) and (method, target) != ("OPTIONS", "*"):
        raise ValueError("the target is not in origin form")


def _is_origin_form(target: str) -> bool:
    """Return whether a target has VCHAR without "#", and characters beyond ASCII, which clients do send.

    A blank would end the target. Bytes that are not UTF-8 are not printable, and no controls.
    """
    if not target.startswith("/") or " " in target or "#" in target:
        return False
    return target.isprintable() or _control(target) is None


def check_pairs(pairs: Sequence[Pair], name: str, most: int) -> None:
    """Raise a TypeError or a ValueError unless ``pairs`` is a list of at most ``most`` pairs of strings."""
    if not isinstance(pairs, _SEQUENCES):
        raise TypeError(f"{name} must be a list of pairs")
    if len(pairs) > most:
        raise ValueError(f"too many {name}")
    for pair in pairs:
        if not isinstance(pair, _SEQUENCES):
            raise TypeError(f"{name} must be a list of pairs")
        if len(pair) != 2:
            raise ValueError(f"{name} must be a list of pairs")
        if not (isinstance(pair[0], str) and isinstance(pair[1], str)):
            raise TypeError(f"{name} must be pairs of strings")


def _quote_query(text: str) -> str:
    return text if _is_safe_query(text) is not None else _quote(text, _QUERY_QUOTING, "query")


def _quote(text: str, quoting: list[str], part: str) -> str:
    """Percent-encode the text's UTF-8. Bytes that were decoded with surrogateescape are encoded as such."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("latin-1").translate(quoting)
    except UnicodeEncodeError:
        raise ValueError(f"the {part} has a lone surrogate") from None
