"""References from sources to the documentation: the page and its section exist.

A reference is the path of a page and the title of a section: docs/contract.rst, "Port report". Further titles of it
follow after a comma or "and".
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCES = [
    path
    for folder in ("pagent", "tests", "bench")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".pyi", ".c", ".yaml"} and path != Path(__file__)
]

#: A page and the titles after it.
CITATION = re.compile(r'\b(docs/[\w/-]+\.rst), ("[^"]+"(?:(?:, | and )"[^"]+")*)')
PAGE = re.compile(r'(?<![\w/*{}."-])[\w/-]+\.(?:rst|md)\b(?!\()')
#: References to what is not in the repository.
ABSENT = re.compile(r"\((?:see )?(?:the )?spec[ ,)]|\bspec [\w-]+\.\w+|\bissue #?\d|\bspecification\b", re.IGNORECASE)


def prose(text: str) -> str:
    """Return a source as one line, without the signs that begin the lines of a comment."""
    return " ".join(re.sub(r"^\s*(?:#:?|\*|//)?\s*", "", line) for line in text.splitlines())


def titles(page: str) -> set[str]:
    lines = page.splitlines()
    return {
        title.replace("``", "").strip()
        for title, rule in pairwise(lines)
        if title.strip() and re.fullmatch(r"([-=~^])\1{2,}", rule)
    }


def citations(text: str) -> list[tuple[str, str]]:
    return [
        (page, title)
        for page, cited in CITATION.findall(prose(text).replace("``", ""))
        for title in re.findall(r'"([^"]+)"', cited)
    ]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_cited_section_exists() -> None:
    cited = {(relative(path), *found) for path in SOURCES for found in citations(path.read_text("utf-8"))}
    assert len(cited) > 60
    missing = [
        (source, page, title)
        for source, page, title in sorted(cited)
        if not (ROOT / page).is_file() or title not in titles((ROOT / page).read_text("utf-8"))
    ]
    assert missing == []


def test_every_page_that_a_source_names_exists() -> None:
    named = {(relative(path), page) for path in SOURCES for page in PAGE.findall(prose(path.read_text("utf-8")))}
    assert len(named) > 40
    assert [(source, page) for source, page in sorted(named) if not (ROOT / page).is_file()] == []


def test_no_source_refers_to_what_is_not_in_the_repository() -> None:
    found = {(relative(path), *ABSENT.findall(prose(path.read_text("utf-8")))) for path in SOURCES}
    assert [names for names in sorted(found) if len(names) > 1] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""End (docs/a.rst, "End")."""', [("docs/a.rst", "End")]),
        ('# (docs/a.rst,\n# "Port\n# report" and "End")', [("docs/a.rst", "Port report"), ("docs/a.rst", "End")]),
        ('/* C (docs/a.rst, "One",\n * "Two"). */', [("docs/a.rst", "One"), ("docs/a.rst", "Two")]),
        ("# no section: docs/limits.rst", []),
    ],
)
def test_a_citation_is_read_over_line_ends(text: str, expected: list[tuple[str, str]]) -> None:
    assert citations(text) == expected
