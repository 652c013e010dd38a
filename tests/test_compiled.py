"""The modules that are compiled."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from pagent import is_compiled
from pagent.wire import native

ROOT = Path(__file__).parent.parent
SOURCES = (ROOT / "pagent" / "compiled.txt").read_text().split()


def test_the_list_is_in_order() -> None:
    assert len(SOURCES) == len(set(SOURCES)) > 10
    assert sorted(SOURCES) == SOURCES


@pytest.mark.parametrize("source", SOURCES)
def test_all_are_compiled_or_none(source: str) -> None:
    assert (ROOT / source).is_file()
    spec = find_spec(source.removesuffix(".py").replace("/", "."))
    assert spec is not None
    assert str(spec.origin).endswith(".py") != is_compiled()


@pytest.mark.parametrize("name", native.__annotations__)
def test_so_are_the_routines_in_c(name: str) -> None:
    assert (getattr(native, name) is not None) == is_compiled()
