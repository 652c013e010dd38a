"""The file of saved contexts."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from pagent.config.contexts import (
    Contexts,
    NoHomeError,
    SavedContext,
    contexts_path,
    read_contexts,
    saved_contexts,
    write_contexts,
)
from pagent.errors import ConfigError

LAB = SavedContext("lab:7000", 'a "token"')


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pagent" / "contexts.yaml"
    assert read_contexts(path) == Contexts()
    contexts = Contexts().added("lab", LAB).added("yes", SavedContext("[::1]:1", "é")).used("yes")
    write_contexts(path, contexts)
    assert read_contexts(path) == contexts
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["contexts.yaml"]


def test_new_folders_are_of_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_contexts(tmp_path / "config" / "pagent" / "contexts.yaml", Contexts())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "config").stat().st_mode) == 0o700


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory") as raised:
        write_contexts(tmp_path / "file" / "pagent" / "contexts.yaml", Contexts())
    assert raised.value.filename == str(tmp_path / "file" / "pagent" / "contexts.yaml")


def test_the_first_context_is_the_current_one() -> None:
    contexts = Contexts().added("lab", LAB).added("other", LAB)
    assert contexts.current == "lab"
    assert contexts.removed("lab") == Contexts({"other": LAB}, None)


@pytest.mark.parametrize("name", ["", "-a", "a b", "x" * 65, "a/b", "\x1b"])
def test_a_name_that_cannot_be_used(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a context's name"):
        Contexts().added(name, LAB)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no context 'lap': there are lab;"):
        Contexts().added("lab", LAB).get("lap")


@pytest.mark.parametrize(
    "text", ["[]", "contexts: 1", "current: 1", "contexts: {a: {address: x}}", "a: [", "a: s3cret: x"]
)
def test_a_damaged_file_is_an_error_without_its_content(tmp_path: Path, text: str) -> None:
    path = tmp_path / "contexts.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"contexts\.yaml: ") as raised:
        read_contexts(path)
    assert "s3cret" not in str(raised.value)


def test_the_place_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert contexts_path() == tmp_path / ".config" / "pagent" / "contexts.yaml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/elsewhere")
    assert contexts_path() == Path("/elsewhere/pagent/contexts.yaml")


def test_an_empty_home_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    assert contexts_path() == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".config" / "pagent" / "contexts.yaml"


@pytest.mark.parametrize("home", ["relative", "", None])
def test_a_user_without_a_home_folder_has_no_contexts(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)  # no user of this system
    with pytest.raises(NoHomeError):
        contexts_path()
    assert saved_contexts() == Contexts()
