"""Versions, and ranges of them, in the conditions for agents: ``>=2.1,<3``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

_VERSION: Final = re.compile(r"v?(\d{1,18}(?:\.\d{1,18}){0,15})(.*)", re.DOTALL | re.ASCII)
_BEFORE_RELEASE: Final = re.compile(
    r"[-._]?(a|b|c|rc|alpha|beta|pre|preview|dev)[-._]?\d*(\W.*)?", re.ASCII | re.DOTALL
)
_CLAUSE: Final = re.compile(r"\s*(>=|<=|==|!=|>|<|=)?\s*(\S+)\s*")

_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "": operator.eq,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Version(NamedTuple):
    """Numbers, without zeros at the end, and whether it is a release: ``3.0rc1`` comes before ``3``."""

    numbers: tuple[int, ...]
    is_release: bool = True

    @property
    def major(self) -> int:
        """The first number."""
        return self.numbers[0] if self.numbers else 0


def parse_version(text: str) -> Version | None:
    """Return the version that a text is, or begins with; None if it is none.

    The text after the numbers counts only if it marks a version before the release: ``5.10.0-8-amd64`` is 5.10.
    """
    found = _VERSION.fullmatch(text)
    if found is None:
        return None
    numbers = [int(number) for number in found[1].split(".")]
    while numbers and not numbers[-1]:
        del numbers[-1]
    return Version(tuple(numbers), not _BEFORE_RELEASE.fullmatch(found[2].lower()))


def parse_range(text: str) -> Callable[[Version], bool]:
    """Return whether a version is in a range of clauses that are joined by commas. ValueError."""
    clauses = [_clause(clause) for clause in text.split(",")]
    return lambda version: all(compare(version, bound) for compare, bound in clauses)


def _clause(text: str) -> tuple[Callable[[Any, Any], bool], Version]:
    found = _CLAUSE.fullmatch(text)
    bound = parse_version(found[2]) if found is not None else None
    if found is None or bound is None:
        raise ValueError(f"{text!r:.100} is not a clause such as >=2.1")
    return _COMPARISONS[found[1] or ""], bound
