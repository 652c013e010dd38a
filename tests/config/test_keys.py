from __future__ import annotations

from pathlib import Path

import pytest

from pagent.config.keys import file_of_keys, is_open_to_others, load_keys
from pagent.config.model import Settings
from pagent.config.router import Access, RouterSettings
from pagent.errors import ConfigError

KEY = "0123456789abcdef" * 2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_keys_in_their_order(file: Path) -> None:
    file.write_text(f"# of today\n{KEY}1\n\n  {KEY}2  \n{KEY}1\n")
    assert load_keys(file) == [f"{KEY}1".encode(), f"{KEY}2".encode()]


@pytest.mark.parametrize("text", ["", "# none\n", "short\n", f"{KEY}\n{KEY[1:]}\n", "a\0" * 32])
def test_files_that_cannot_be_used(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"^access\.keys_file: .*keys: ") as caught:
        load_keys(file)
    assert KEY[1:] not in str(caught.value)
    with pytest.raises(ConfigError, match=r"^access\.keys_file: .*No such file"):
        load_keys(file.with_name("none"))


@pytest.mark.parametrize(("mode", "expected"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_the_mode_of_a_file(file: Path, mode: int, expected: bool) -> None:
    file.write_text(KEY)
    file.chmod(mode)
    assert is_open_to_others(file) is expected
    assert not is_open_to_others(file.with_name("none"))


def test_the_file_of_a_configuration(file: Path) -> None:
    assert file_of_keys(RouterSettings(access=Access(keys_file=file))) == file
    assert file_of_keys(RouterSettings()) is None
    assert file_of_keys(Settings()) is None
