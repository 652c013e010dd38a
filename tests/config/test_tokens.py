"""Tokens from files and the environment: which are in force, and what is said of files that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pagent.config.load import load, secrets_of_sets
from pagent.config.model import ClientSettings, ControlSettings, ServerSettings, Settings
from pagent.config.tokens import load_tokens, read_token, read_tokens, readable_by_others
from pagent.errors import ConfigError
from pagent.limits import TOKEN_FILE_MAX


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("# of routers\nfirst\n\n  second with blanks  \r\n#third\nключ\nfirst\n")
    return path


def test_a_file_has_one_token_a_line(file: Path) -> None:
    assert read_tokens(file) == ["first", "second with blanks", "ключ", "first"]
    assert read_token(file) == "first"


def test_a_byte_order_mark_is_not_part_of_a_token(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbffirst")
    assert read_tokens(file) == ["first"]


def test_all_sources_of_accepted_tokens_together(file: Path) -> None:
    settings = Settings(server=ServerSettings(accept_tokens=("listed", "first"), accept_tokens_file=file))
    tokens = load_tokens(settings, {"PAGENT_TOKEN": "of the environment"})
    assert tokens.accepted == ("listed", "first", "second with blanks", "ключ", "of the environment")
    assert (tokens.client, tokens.control) == ("default", None)
    assert load_tokens(Settings(), {"PAGENT_TOKEN": ""}).accepted == ()


def test_the_token_to_present_is_the_first_of_its_file(file: Path) -> None:
    assert load_tokens(Settings(client=ClientSettings(token="listed", token_file=file)), {}).client == "first"


def test_control_tokens_of_a_file_and_of_the_configuration(file: Path) -> None:
    settings = Settings(control=ControlSettings(token="listed", token_file=file))
    assert load_tokens(settings, {}).control == ("listed", "first", "second with blanks", "ключ", "first")


@pytest.mark.parametrize("section", ["client", "control"])
def test_a_file_without_a_token_turns_nothing_off(tmp_path: Path, section: str) -> None:
    file = tmp_path / "empty"
    file.write_text("# nothing\n")
    settings = (
        Settings(client=ClientSettings(token_file=file))
        if section == "client"
        else Settings(control=ControlSettings(token_file=file))
    )
    with pytest.raises(ConfigError, match=rf"^{section}\.token_file: .*empty: holds no token"):
        load_tokens(settings, {})


def test_an_empty_file_of_accepted_tokens_refuses_every_peer(tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.touch()
    assert load_tokens(Settings(server=ServerSettings(accept_tokens_file=file)), {}).accepted == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"secret\xff", "not a text file in UTF-8"),
        (b"secret\0", "not a text file"),
        (b"secret\n" * TOKEN_FILE_MAX, "longer than"),
    ],
)
def test_an_unusable_file_is_named_and_not_quoted(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^server\.accept_tokens_file: {file}: {words}") as caught:
        load_tokens(Settings(server=ServerSettings(accept_tokens_file=file)), {})
    assert "secret" not in str(caught.value)


def test_a_file_that_others_can_read(file: Path) -> None:
    file.chmod(0o644)
    assert readable_by_others(file)
    file.chmod(0o640)
    assert not readable_by_others(file)
    os.unlink(file)
    assert not readable_by_others(file)


def test_tokens_are_not_in_a_repr(file: Path) -> None:
    settings = Settings(server=ServerSettings(accept_tokens_file=file), client=ClientSettings(token="listed"))
    assert "first" not in repr(load_tokens(settings, {}))
    assert "listed" not in repr(load_tokens(settings, {}))


def test_the_option_names_the_file(file: Path) -> None:
    assert load(token_file=file).server.accept_tokens_file == file


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("server.accept_tokens=['a']", ["server.accept_tokens"]),
        ("server.accept_tokens=[]", []),
        ("server={'port': 1}", []),
        ("server={'accept_tokens': ['a'], 'port': 1}", ["server.accept_tokens"]),
        ("client.token='a'", ["client.token"]),
        ("control.token='a'", ["control.token"]),
        ("control.token_file='a'", []),
        ("properties={'token': 'a'}", []),
    ],
)
def test_which_options_carry_a_secret(text: str, names: list[str]) -> None:
    assert secrets_of_sets(Settings, [text]) == names
