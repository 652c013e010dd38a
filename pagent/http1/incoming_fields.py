"""The treatment of each field of a request: read, passed on or left out, by its name."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pagent.http1.fields import UNPASSED, is_token
from pagent.http1.lines import LEFT_OUT, watch

# The treatment of a field. Plain numbers, as in pagent.http1.fields: compiled, they are constants.
PASSED: Final = 0
HOST: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 3
COOKIE: Final = 4
CONNECTION: Final = 5
UPGRADE: Final = 6
EXPECT: Final = 7
FORWARDED: Final = 8
OWN: Final = 9
REQUEST_ID: Final = 10
DROPPED: Final = 11

#: Fields that are not passed on unchanged have LEFT_OUT.
_KINDS: Final = {
    "host": HOST,
    "content-length": CONTENT_LENGTH,
    "transfer-encoding": TRANSFER_ENCODING,
    "cookie": COOKIE,
    "connection": CONNECTION | LEFT_OUT,
    "upgrade": UPGRADE | LEFT_OUT,
    "expect": EXPECT,
    "x-request-id": REQUEST_ID | LEFT_OUT,
    **dict.fromkeys(UNPASSED, DROPPED | LEFT_OUT),
}
#: In every spelling: programs that make variables of fields (CGI, WSGI) do not distinguish "_" from "-".
_FORWARDING: Final = frozenset(
    (
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-real-ip",
    )
)
_OWN_PREFIX: Final = "x-pagent-"
_CACHED_MAX: Final = 64


def _kind_of(name: str) -> int:
    """Return the treatment of a field; ValueError if its name is not a token."""
    return _kind_of_name(name) if len(name) <= _CACHED_MAX else _kind_of_name.__wrapped__(name)


@lru_cache(maxsize=1024)
def _kind_of_name(name: str) -> int:
    if not is_token(name):
        raise ValueError("a field's name is not a token")
    lower = name.lower()
    if lower in _KINDS:
        return _KINDS[lower] & ~LEFT_OUT
    dashed = lower.replace("_", "-")
    if dashed in _FORWARDING:
        return FORWARDED
    if dashed.startswith(_OWN_PREFIX):
        return OWN
    return PASSED


def _other_kind(name: str) -> int:
    """Return the kind of a name that is not in the table: it may have "_" for "-"."""
    kind = _kind_of(name)
    return kind | LEFT_OUT if kind else kind


def passes_unchanged(name: str) -> bool:
    """Return whether a field passes to the job unchanged: it is neither of this hop, nor the router's to write."""
    return _kind_of(name) == PASSED


#: Fields whose lines are read. All other lines are passed on unread.
WATCHED: Final = watch(_KINDS, _other_kind, (*_FORWARDING, _OWN_PREFIX + "*"))
