"""The modules of the page that need no browser, tested by Node.js: each ``*.test.mjs`` beside this file."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE = shutil.which("node")
TIME_S = 60.0

pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where Node.js takes the assets for ES modules, as browsers do."""
    made = tmp_path_factory.mktemp("dashboard")
    (made / "package.json").write_text(json.dumps({"type": "module"}))
    shutil.copytree(str(files("pagent.web.dashboard") / "assets"), made / "assets")
    for test in HERE.glob("*.test.mjs"):
        shutil.copy(test, made)
    return made


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_module(folder: Path, name: str) -> None:
    assert NODE is not None
    ended = subprocess.run([NODE, "--test", name], cwd=folder, capture_output=True, text=True, timeout=TIME_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "# tests 0" not in ended.stdout, ended.stdout
