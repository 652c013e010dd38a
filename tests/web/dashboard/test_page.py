"""The files of the page: nothing in them can run what a job has written, and nothing comes from elsewhere."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

ASSETS = Path(str(files("pagent.web.dashboard") / "assets"))
SOURCES = sorted(path for path in ASSETS.iterdir() if path.suffix in (".js", ".html", ".css", ".svg"))
LINES_MAX = 400

#: What turns text into markup or code.
DANGEROUS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc|setHTML"
    r"|\beval\b|new Function|setTimeout\(\s*[\"'`]|setInterval\(\s*[\"'`]|javascript:|import\(\s*[^)\"']"
)
#: A reference to another origin. The namespace of SVG is a name.
ELSEWHERE = re.compile(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]", re.IGNORECASE)


def without_comments(text: str) -> str:
    return re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_runs_text_and_nothing_comes_from_elsewhere(path: Path) -> None:
    text = without_comments(path.read_text(encoding="utf-8"))
    assert DANGEROUS.findall(text) == []
    assert ELSEWHERE.findall(text) == []


@pytest.mark.parametrize("text", ["x.innerHTML = y", "eval(y)", "setTimeout('y')", "import(y)", "new Function(y)"])
def test_what_is_dangerous_is_found(text: str) -> None:
    assert DANGEROUS.search(text)


def test_the_page_has_no_inline_script_and_no_inline_handler() -> None:
    page = (ASSETS / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page) == []
    assert re.findall(r"\son[a-z]+\s*=", page) == []
    assert "style=" not in page


def test_every_import_is_a_file() -> None:
    missing = [
        f"{path.name}: {name}"
        for path in SOURCES
        for name in re.findall(
            r"^(?:import|export) [^;]*?from \"\./([^\"]+)\";", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        if not (ASSETS / name).is_file()
    ]
    assert missing == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".js"], ids=lambda path: path.name)
def test_a_module_is_one_idea(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_MAX
