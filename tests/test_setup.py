"""A build leaves nothing in the checkout except the compiled modules of an editable installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Whatever is not in the sources.
IGNORED = shutil.ignore_patterns("*.so", "__pycache__")


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("build", ["build_wheel", "build_editable"])
def test_a_build_leaves_nothing_in_the_sources(tmp_path: Path, build: str) -> None:
    sources, wheels, scratch = tmp_path / "sources", tmp_path / "wheels", tmp_path / "scratch"
    shutil.copytree(ROOT / "pagent", sources / "pagent", ignore=IGNORED)
    for name in ("setup.py", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    wheels.mkdir()
    scratch.mkdir()
    before = files_of(sources)
    program = f"from setuptools import build_meta; build_meta.{build}({str(wheels)!r})"
    env = os.environ | {"PAGENT_COMPILE": "0", "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program], cwd=sources, env=env, check=True, capture_output=True)
    assert files_of(sources) == before
    assert [path.suffix for path in wheels.iterdir()] == [".whl"]
    assert os.listdir(scratch) == []
