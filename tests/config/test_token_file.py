from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagent.config import token_file
from pagent.config.token_file import add_token, list_tokens, remove_token
from pagent.errors import ConfigError


def record(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": name[0].encode().hex() * 32, "scopes": ["read"], **more}


def names(path: Path) -> list[str]:
    return [token.name for token in list_tokens(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.yaml"


def test_a_file_that_is_missing_is_made_with_mode_0600(path: Path) -> None:
    old = os.umask(0)
    try:
        add_token(path, record("a"))
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(path) == ["a"]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


TEXT = """\
# all tokens

  # of Ann
  - name: ann   # she
    sha256: aa
    scopes:
      - read
      - 'jobs!any'

  # of Bob
  - {name: bob, sha256: bb,
     scopes: [read]}
  -
    name: cid
    sha256: cc
    scopes: []
    expires: 2030-01-01
# the end
"""


@pytest.mark.parametrize("name", ["ann", "bob", "cid"])
def test_comments_order_and_mode_stay(path: Path, name: str) -> None:
    path.write_text(TEXT)
    path.chmod(0o640)
    add_token(path, record("new", quota={"jobs": 1}))
    assert names(path) == ["ann", "bob", "cid", "new"]
    remove_token(path, name)
    assert names(path) == [each for each in ("ann", "bob", "cid", "new") if each != name]
    remove_token(path, "new")
    comments = [line.strip() for line in TEXT.splitlines() if line.strip().startswith("#")]
    assert [line.strip() for line in path.read_text().splitlines() if line.strip().startswith("#")] == comments
    assert path.stat().st_mode & 0o777 == 0o640


def test_all_tokens_may_be_removed(path: Path) -> None:
    path.write_text(TEXT)
    for name in ("bob", "ann", "cid"):
        remove_token(path, name)
    assert names(path) == []
    add_token(path, record("a"))
    assert names(path) == ["a"]


@given(st.lists(st.sampled_from("abcdef"), max_size=12))
@settings(max_examples=20, deadline=None)
def test_any_order_of_edits(tmp_path_factory: pytest.TempPathFactory, edits: list[str]) -> None:
    path = tmp_path_factory.mktemp("edits") / "tokens"
    path.write_text("# first\n")
    known: list[str] = []
    for name in edits:
        if name in known:
            remove_token(path, name)
            known.remove(name)
        else:
            add_token(path, record(name))
            known.append(name)
        assert names(path) == known
    assert path.read_text().startswith("# first\n")


def test_two_writers_wait_for_each_other(path: Path) -> None:
    writers = [threading.Thread(target=add_token, args=(path, record(f"{index:02}"))) for index in range(12)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(names(path)) == [f"{index:02}" for index in range(12)]


def test_a_link_stays_a_link(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("")
    path.symlink_to(target.name)
    add_token(path, record("a"))
    assert path.is_symlink()
    assert names(target) == ["a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{name: a, sha256: aa, scopes: [read]}]\n", "not a list with one '- ' for each token"),
        ("name: a\n", "expected a list of maps"),
        ("- {name: a}\n", r"\[0\]\.sha256: is missing"),
        ("- x\n", r"\[0\]: expected a map"),
        ("- {name: a, sha256: aa, scopes: [read], more: 1}\n", r"\[0\]\.more: unknown key"),
        ("- {name: 'secret\n", "line"),
        ("- \xff\n", "not a text file in UTF-8"),
    ],
)
def test_a_file_that_is_not_edited_stays_as_it_is(path: Path, text: str, words: str) -> None:
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=words) as caught:
        add_token(path, record("b"))
    assert str(caught.value).startswith(f"{path}: ")
    assert "secret" not in str(caught.value)
    assert path.read_bytes() == text.encode("latin-1")
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_names_are_unique_and_have_to_be_there(path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        remove_token(path, "a")
    assert not path.exists()
    add_token(path, record("a"))
    with pytest.raises(ConfigError, match="there is a token 'a' already"):
        add_token(path, record("a"))
    with pytest.raises(ConfigError, match="there is no token 'b'"):
        remove_token(path, "b")


def test_a_folder_is_not_a_file(path: Path) -> None:
    path.mkdir()
    for edit in (lambda: add_token(path, record("a")), lambda: remove_token(path, "a"), lambda: list_tokens(path)):
        with pytest.raises(ConfigError, match="Is a directory"):
            edit()  # type: ignore[no-untyped-call]


def test_a_full_disk_leaves_no_empty_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(token_file, "replace_file", full)
        with pytest.raises(ConfigError, match="No space left"):
            add_token(path, record("a"))
        assert not path.exists()
        path.touch()
        with pytest.raises(ConfigError, match="No space left"):
            add_token(path, record("a"))
    assert path.exists()  # it was there before
    add_token(path, record("a"))
