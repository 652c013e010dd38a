from __future__ import annotations

from pathlib import Path

import click
import pytest

from pagent.cli.run.environment import variables


def test_options_override_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "from here")
    monkeypatch.delenv("ABSENT", raising=False)
    file = tmp_path / "env"
    file.write_bytes(
        "\ufeff# comment\n\nA=1\n  B=two words = three \nHERE \nABSENT\nC='as it is'\r\nexport D=1\u2028\f2\n".encode()
    )
    assert variables(("A=2", "HERE", "ABSENT", "EMPTY="), file) == {
        "A": "2",
        "B": "two words = three ",
        "HERE": "from here",
        "C": "'as it is'",
        "D": "1\u2028\f2",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("given", "content", "words"),
    [
        (("=x",), None, "-e =x: expected NAME=VALUE"),
        ((), b"A=1\n=x\n", "env, line 2: expected NAME=VALUE"),
        ((), b"A=\x00\n", "env, line 1: expected NAME=VALUE"),
        ((), b"A=1\nB = 2\n", "env, line 2: expected NAME=VALUE, without a space before ="),
        ((), b"export export A=1\n", "env, line 1: expected NAME=VALUE, without a space before ="),
        ((), b"\xff\xfe", "not a text file in UTF-8"),
    ],
)
def test_wrong_variables(tmp_path: Path, given: tuple[str, ...], content: bytes | None, words: str) -> None:
    file = None
    if content is not None:
        file = tmp_path / "env"
        file.write_bytes(content)
    with pytest.raises(click.UsageError, match=words):
        variables(given, file)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="No such file"):
        variables((), tmp_path / "missing")
    with pytest.raises(click.UsageError, match="Is a directory"):
        variables((), tmp_path)
