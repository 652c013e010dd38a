"""The words of the sources and pages: the terms of docs/glossary.rst, and none that needs a translation.

Comments, strings and identifiers are read, and the pages as a whole. An identifier is read word by word.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent

#: Each word, and the terms to use instead.
INSTEAD: Final = {
    "anybody": "the client, the peer, the caller: by name",
    "anyone": "any client, any peer: by name",
    "apart": "separate, decode, except",
    "bare": "empty, plain",
    "behind": "after",
    "beneath": "below",
    "brake": "read throttle",
    "choke": "pause reading",
    "crowd": "many streams",
    "deaf": "discard input",
    "everybody": "all clients, all peers: by name",
    "everyone": "all clients, all peers: by name",
    "footprint": "memory",
    "forest": "job trees",
    "hurry": "force",
    "lend": "receive buffer pool",
    "lending": "receive buffer pool",
    "lent": "in use",
    "lobby": "connection gate",
    "nobody": "the client, the peer, the caller: by name",
    "occasion": "event",
    "outbox": "write batch",
    "pace": "pacer, pacing",
    "reception": "connection gate",
    "sacrifice": "close, give up",
    "shown": "printed, listed",
    "skim": "scan",
    "somebody": "the client, the peer, the caller: by name",
    "someone": "the client, the peer, the caller: by name",
    "stranger": "unauthenticated peer, unknown client",
    "told": "notified, signalled, reported",
    "visitor": "unauthenticated connection",
    "vouch": "confirm",
    "who": "the client, the peer, the caller: by name",
    "whoever": "the client, the peer, the caller: by name",
}

#: Terms of others: flags of openat2(2), the user that has no rights, and line ends in RFC 9112.
OTHERS: Final = re.compile(r"RESOLVE_BENEATH|openat_beneath|[\"'`]nobody[\"'`]|bare (?:CR|LF)")

WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def faults(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and word of each word in a text that is not to be used, also in its plural."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in WORD.finditer(OTHERS.sub("", line)):
            word = match[0].lower()
            for known in (word, word.removesuffix("s")):
                if known in INSTEAD:
                    yield number, known
                    break


def words_of_source(text: str) -> str:
    """Return the comments, strings and names of a Python source, each on its line."""
    lines = [""] * (text.count("\n") + 1)
    kinds = (tokenize.COMMENT, tokenize.STRING, tokenize.NAME)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            for offset, line in enumerate(token.string.split("\n")):
                lines[token.start[0] - 1 + offset] += f" {line}"
    return "\n".join(lines)


def units() -> list[str]:
    """Return the modules and packages right below pagent, bench and tests."""
    found = [path for folder in ("pagent", "bench", "tests") for path in (ROOT / folder).iterdir()]
    names = {
        path.relative_to(ROOT).as_posix() for path in found if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    return sorted(names - {"tests/test_english.py"})


def pages() -> list[str]:
    found = [
        *ROOT.joinpath("docs").rglob("*.rst"),
        *ROOT.glob("*.rst"),
        ROOT / "bench" / "README.rst",
        *ROOT.joinpath("config").glob("*.yaml"),
    ]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def report(path: Path, text: str) -> list[str]:
    name = path.relative_to(ROOT).as_posix()
    return [f"{name}:{line}: {word}; instead: {INSTEAD[word]}" for line, word in faults(text)]


@pytest.mark.parametrize("unit", units())
def test_the_sources_use_standard_terms(unit: str) -> None:
    path = ROOT / unit
    found = []
    for source in [path] if path.is_file() else sorted(path.rglob("*")):
        if source.suffix == ".py":
            found += report(source, words_of_source(source.read_text(encoding="utf-8")))
        elif source.suffix in (".c", ".pyi", ".yaml"):
            found += report(source, source.read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize("page", pages())
def test_the_pages_use_standard_terms(page: str) -> None:
    assert report(ROOT / page, (ROOT / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# one behind the other\nx = 1", [(1, "behind")]),
        ('"""A lobby.\n\nTwo Visitors wait."""', [(1, "lobby"), (3, "visitor")]),
        ("def take_apart(toldOf, BARE_TYPES): ...", [(1, "apart"), (1, "told"), (1, "bare")]),
        ("class ReadBrake: ...", [(1, "brake")]),
        ("raise ValueError(f'{name} shown to {peer}')", [(1, "shown")]),
        ("x = openat_beneath(f, os.RESOLVE_BENEATH)\nuser = 'nobody'", []),
        ("# barely, toldness, space, brakes_", [(1, "brake")]),
    ],
)
def test_words_are_found_in_comments_strings_and_names(text: str, found: list[tuple[int, str]]) -> None:
    assert list(faults(words_of_source(text))) == found
