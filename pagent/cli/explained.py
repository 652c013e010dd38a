"""Explanations of errors: the entries of ``pagent/cli/errors.rst``, by name. A message that has one ends with the name.

An entry begins with a literal block of its messages, one a line, where ``<word>`` stands for any text. So an entry is
all that a new error needs: the code that raises the error does not know its name. ``docs/errors.rst`` is made from the
same file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import click

_TITLE: Final = re.compile(r"^([a-z]+(?:-[a-z]+)*)\n-+\n", re.MULTILINE)
_SECTION: Final = re.compile(r"^[A-Z].*\n=+\n", re.MULTILINE)
_PLACE: Final = re.compile(r"<[a-z]+>")


class Explanation(NamedTuple):
    """An entry: the templates of its messages, and its text in reStructuredText, without the title."""

    messages: tuple[str, ...]
    text: str


def source() -> str:
    """Return the text of all entries, in sections."""
    return Path(__file__).with_name("errors.rst").read_text(encoding="utf-8")


@cache
def explanations() -> dict[str, Explanation]:
    """Return all entries by name."""
    _, *parts = _TITLE.split(_SECTION.sub("", source()))
    return {name: _explanation(text) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _explanation(text: str) -> Explanation:
    block = re.match(r"\n*::\n\n((?:    .+\n)+)", text)
    assert block is not None, text
    return Explanation(tuple(line.strip() for line in block[1].splitlines()), text.strip())


@cache
def _patterns() -> list[tuple[int, re.Pattern[str], str]]:
    """Return the length of the fixed text of each template, its pattern, and the name of its entry, longest first."""
    found = [
        (len(_PLACE.sub("", message)), re.compile(".+?".join(map(re.escape, _PLACE.split(message)))), name)
        for name, entry in explanations().items()
        for message in entry.messages
    ]
    return sorted(found, key=lambda each: -each[0])


def name_of(message: str) -> str | None:
    """Return the name of the entry that explains a message. The one with the longest fixed text is chosen."""
    return next((name for _, pattern, name in _patterns() if pattern.search(message)), None)


def with_name(message: str) -> str:
    """Return a message with the command that explains it, if there is an entry for it."""
    name = name_of(message)
    return message if name is None else f"{message} (pagent help {name})"


def lines_of(name: str, width: int) -> Iterator[str]:
    """Yield the lines of an entry for a terminal of this width. KeyError."""
    yield name
    for paragraph in re.split(r"\n{2,}", explanations()[name].text):
        if paragraph == "::":
            yield ""
        elif paragraph.startswith("    "):
            for line in paragraph.splitlines():
                yield from click.wrap_text(line.strip(), width, "    ", "      ").splitlines()
        else:
            yield ""
            for item in re.split(r"\n(?=\* )", paragraph):
                yield from _wrapped(item.replace("``", ""), width)


def _wrapped(item: str, width: int) -> list[str]:
    text = " ".join(item.split())
    indent = "  " if text.startswith("* ") else ""
    return click.wrap_text(text, width, subsequent_indent=indent).splitlines()
