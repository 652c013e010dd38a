from __future__ import annotations

import os
from pathlib import Path

import pytest

from pagent.errors import ConfigError
from pagent.jobs.folders import AllowedFolders


def opened(folders: AllowedFolders, path: str | Path) -> str:
    """Return the path without links of the file that the folders open for ``path``."""
    descriptor = folders.open(str(path))
    try:
        resolved = os.path.realpath(path)
        assert os.path.samestat(os.fstat(descriptor), os.stat(resolved))
    finally:
        os.close(descriptor)
    return resolved


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    path = tmp_path / "allowed"
    (path / "a" / "b").mkdir(parents=True)
    (path / "file").touch()
    (tmp_path / "outside" / "b").mkdir(parents=True)
    (tmp_path / "allowed-not").mkdir()
    return path


@pytest.mark.parametrize("below", ["", "a", "a/b", "a/../a/./b/"])
def test_a_folder_and_all_below_it(allowed: Path, below: str) -> None:
    assert opened(AllowedFolders(["/nowhere", str(allowed)]), allowed / below) == os.path.normpath(allowed / below)


def test_links_are_resolved_before_they_are_judged(allowed: Path) -> None:
    (allowed / "inside").symlink_to(allowed / "a")
    (allowed.parent / "other-name").symlink_to(allowed)
    for spelling in (allowed / "inside" / "b", allowed.parent / "other-name" / "a" / "b"):
        assert opened(AllowedFolders([str(allowed)]), spelling) == str(allowed / "a" / "b")
    assert opened(AllowedFolders([str(allowed.parent / "other-name")]), allowed / "a") == str(allowed / "a")


@pytest.mark.parametrize(
    "path", ["..", "../outside", "a/../../outside/b", "out", "out/b", "out/../b", "../allowed-not", "../missing"]
)
def test_nothing_leads_outside(allowed: Path, path: str) -> None:
    (allowed / "out").symlink_to(allowed.parent / "outside")
    with pytest.raises(ValueError, match=r"is not in a folder that jobs\.allow_folders lists"):
        AllowedFolders([str(allowed)]).open(f"{allowed}/{path}")


def test_nothing_is_allowed_by_default(allowed: Path) -> None:
    with pytest.raises(ValueError, match="is not in a folder"):
        AllowedFolders().open(str(allowed))


def test_a_link_that_appears_after_the_look_is_not_followed(allowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = os.path.realpath

    def swap(path: str) -> str:
        found = resolved(path)
        if found.endswith("/a"):
            (allowed / "a").rename(allowed / "moved")
            (allowed / "a").symlink_to(allowed.parent / "outside")
        return found

    monkeypatch.setattr(os.path, "realpath", swap)
    with pytest.raises(ValueError, match="is not in a folder"):
        AllowedFolders([str(allowed)]).open(str(allowed / "a"))


@pytest.mark.parametrize(("name", "error"), [("missing", FileNotFoundError), ("file", NotADirectoryError)])
def test_errors_name_the_path_as_it_was_given(allowed: Path, name: str, error: type[OSError]) -> None:
    with pytest.raises(error) as raised:
        AllowedFolders([str(allowed)]).open(f"{allowed}/a/../{name}")
    assert raised.value.filename == f"{allowed}/a/../{name}"


def test_the_configuration_takes_absolute_paths_only() -> None:
    with pytest.raises(ConfigError, match=r"jobs\.allow_folders: 'here' is not an absolute path"):
        AllowedFolders(["/", "here"])
