from __future__ import annotations

from pathlib import Path

import pytest

from pagent.web.dashboard.assets import Asset, load_assets


def test_the_folder_is_listed(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    for name in ("index.html", "main.js", "vendor/x.css", "vendor/LICENSE", ".hidden"):
        (tmp_path / name).write_text(name)
    found = load_assets(tmp_path)
    assert {path: each.content_type for path, each in found.items()} == {
        "/": "text/html",
        "/main.js": "text/javascript",
        "/vendor/x.css": "text/css",
        "/vendor/LICENSE": "text/plain",
    }
    assert found["/"].body == b"index.html"


def test_files_of_the_package() -> None:
    assert b"<html" in load_assets()["/"].body


@pytest.mark.parametrize("name", ["a.JS", "a.mjs", "a.svg", "a.woff2", "a.png", "a.json"])
def test_types_do_not_depend_on_the_system(name: str) -> None:
    assert Asset.of(name, b"").content_type != "text/plain"


def test_the_tag_is_of_the_content() -> None:
    assert Asset.of("a.js", b"1").etag == Asset.of("b.js", b"1").etag != Asset.of("a.js", b"2").etag
