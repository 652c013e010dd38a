"""Conditional and range requests for files: RFC 9110 sections 13 and 14.

An entity tag is the version of a file at its agent, and strong. Files have no Last-Modified here, so conditions with a
date do not count (13.1.3, 13.1.4), and a date in If-Range never fits.
"""

from __future__ import annotations

import enum
import re
from typing import Any, Final, NamedTuple, Protocol

from pagent.errors import RequestRefusedError

_TAG: Final = r'(W/)?"([\x21\x23-\x7e]*)"'
_tags: Final = re.compile(_TAG)
_is_list: Final = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*").fullmatch
_is_range: Final = re.compile(r"bytes[ \t]*=[ \t,]*([0-9]*)-([0-9]*)[ \t,]*", re.IGNORECASE).fullmatch
_TAGS_MAX: Final = 64
_DIGITS_MAX: Final = 32
_ANY: Final = "*"


class Fields(Protocol):
    """The fields of a request, by names in any case."""

    def __contains__(self, name: object, /) -> bool: ...

    def __getitem__(self, name: str, /) -> str: ...

    def getall(self, name: str, default: list[str], /) -> list[str]:
        """Return the values of all fields of this name."""


class Reading(enum.Enum):
    """How a GET or HEAD of a file is answered."""

    WHOLE = 200
    PART = 206
    NOT_MODIFIED = 304
    FAILED = 412
    UNSATISFIABLE = 416


class Selection(NamedTuple):
    """The answer to a GET: its kind, and the part of the file that it has."""

    outcome: Reading
    offset: int = 0
    length: int = 0


class EntityTags(NamedTuple):
    """The value of If-Match or If-None-Match. ``any``: the value ``*``. ``strong``, ``weak``: the opaque tags."""

    any: bool
    strong: frozenset[str]
    weak: frozenset[str]


def etag_of(version: str) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def is_conditional(fields: Fields) -> bool:
    """Return whether the answer to a GET depends on the file."""
    return any(name in fields for name in ("If-Match", "If-None-Match", "Range"))


def select(fields: Fields, version: str, size: int, *, ranges: bool) -> Selection:
    """Evaluate the fields of a GET, or of a HEAD, for which ``ranges`` is false (13.2.2, 14.2)."""
    match, none_match = tags(fields, "If-Match"), tags(fields, "If-None-Match")
    if match is not None and not (match.any or version in match.strong):
        return Selection(Reading.FAILED)
    if none_match is not None and (none_match.any or version in none_match.strong | none_match.weak):
        return Selection(Reading.NOT_MODIFIED)
    if ranges and len(fields.getall("Range", [])) == 1 and _if_range_fits(fields, version):
        return _part(fields["Range"].strip(), size)
    return Selection(Reading.WHOLE, 0, size)


def tags(fields: Fields, name: str) -> EntityTags | None:
    """Return the entity tags of a field; None without it. RequestRefusedError 400."""
    value = ", ".join(fields.getall(name, [])).strip()
    if not value and name not in fields:
        return None
    if value == _ANY:
        return EntityTags(True, frozenset(), frozenset())
    found = _tags.findall(value) if _is_list(value) else []
    if not 0 < len(found) <= _TAGS_MAX:
        raise RequestRefusedError(400, f"{name} must be * or at most {_TAGS_MAX} entity tags")
    strong = frozenset(tag for weak, tag in found if not weak)
    return EntityTags(False, strong, frozenset(tag for weak, tag in found if weak))


def _if_range_fits(fields: Fields, version: str) -> bool:
    """RFC 9110 13.1.5: a strong comparison."""
    values = fields.getall("If-Range", [])
    return not values or values == [etag_of(version)]


def _part(value: str, size: int) -> Selection:
    """Return the part that a Range asks for. A field that is not valid, or has several ranges, is ignored (14.2)."""
    whole = Selection(Reading.WHOLE, 0, size)
    match = _is_range(value)
    if match is None or max(len(match[1]), len(match[2])) > _DIGITS_MAX or not (match[1] or match[2]):
        return whole
    if not match[1]:
        length = min(int(match[2]), size)
        return Selection(Reading.PART, size - length, length) if length else Selection(Reading.UNSATISFIABLE)
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return whole
    if first >= size:
        return Selection(Reading.UNSATISFIABLE)
    return Selection(Reading.PART, first, min(last, size - 1) - first + 1)


def upload_condition(fields: Fields) -> dict[str, Any]:
    """Return the arguments of ``file_upload`` and ``file_remove`` for the conditions of a request."""
    match, none_match = tags(fields, "If-Match"), tags(fields, "If-None-Match")
    if none_match is not None and not none_match.any:
        raise RequestRefusedError(400, "If-None-Match of a request that changes a file can only be *")
    options: dict[str, Any] = {}
    if match is not None:
        options["match"] = [_ANY] if match.any else sorted(match.strong)
    if none_match is not None:
        options["absent"] = True
    return options
