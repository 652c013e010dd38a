"""What the tests assert is looked at also where Python has no asserts (``python -O``): pytest writes it anew."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ASSERTING = [
    ".".join(path.relative_to(TESTS.parent).with_suffix("").parts)
    for path in sorted(TESTS.rglob("*.py"))
    if any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text())))
]


def test_asserts_work() -> None:
    with pytest.raises(AssertionError):
        assert not ASSERTING


@pytest.mark.parametrize("name", [name for name in ASSERTING if ".test_" not in name and not name.endswith("conftest")])
def test_asserts_of_other_modules_work_too(name: str) -> None:
    """pytest does so by itself with modules of tests and conftest; tests/__init__.py tells it of the others."""
    loader = importlib.import_module(name).__loader__
    assert type(loader).__name__ == "AssertionRewritingHook"
