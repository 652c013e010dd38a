"""The modules that are compiled."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from pagent import is_compiled
from pagent.http1 import native as http1_native
from pagent.wire import native as wire_native

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


@pytest.mark.parametrize("source", SOURCES)
def test_no_two_except_clauses_of_a_function_share_a_name(source: str) -> None:
    """mypyc gives the variable the type of the first clause, and raises TypeError in the second."""
    for function in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            clauses = {
                (node.name, ast.unparse(node.type))
                for node in ast.walk(function)
                if isinstance(node, ast.ExceptHandler) and node.name is not None and node.type is not None
            }
            assert len({name for name, _ in clauses}) == len(clauses), function.name


@pytest.mark.parametrize("native", [http1_native, wire_native])
def test_the_routines_in_c_are_used(native: ModuleType) -> None:
    for name in native.__annotations__:
        assert (getattr(native, name) is not None) == is_compiled()
