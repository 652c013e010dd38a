"""The modules that setup.py compiles."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from pagent import is_compiled
from pagent.wire import native

ROOT = Path(__file__).parent.parent
SOURCES = re.findall(r'^    "(pagent/\S+\.py)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)


def test_the_list_is_read() -> None:
    """As the Makefile reads it, which compiles anew when one of these changes."""
    assert "pagent/wire/frames.py" in SOURCES
    assert len(SOURCES) == len(set(SOURCES)) > 10


@pytest.mark.parametrize("source", SOURCES)
def test_all_are_compiled_or_none(source: str) -> None:
    assert (ROOT / source).is_file()
    spec = find_spec(source.removesuffix(".py").replace("/", "."))
    assert spec is not None
    assert str(spec.origin).endswith(".py") != is_compiled()


@pytest.mark.parametrize("name", native.__annotations__)
def test_so_are_the_routines_in_c(name: str) -> None:
    assert (getattr(native, name) is not None) == is_compiled()
