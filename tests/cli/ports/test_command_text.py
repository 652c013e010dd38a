from __future__ import annotations

import re
from pathlib import Path

from pagent.cli.ports.command_text import is_in_command

SIGN = re.compile(b"sign")


def test_arguments_and_scripts_are_searched(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("a sign")
    (tmp_path / "binary").write_bytes(b"\x7fELF a sign")
    (tmp_path / "large").write_bytes(b"sign".ljust((1 << 20) + 1))
    folder = str(tmp_path)
    assert is_in_command(SIGN, ["a", "sign"], None)
    assert is_in_command(SIGN, ["a", "script"], folder)
    assert is_in_command(SIGN, [f"{folder}/script"], "/")
    assert not is_in_command(SIGN, ["a", "script"], None)
    for name in ("binary", "large", "missing", ".", "a\0b", ""):
        assert not is_in_command(SIGN, [name], folder)
