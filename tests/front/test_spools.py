"""The folder of spooled answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagent.config.router import SpoolSettings
from pagent.errors import ConfigError
from pagent.front.spools import FrontSpools


@pytest.mark.parametrize("is_file", [True, False])
def test_a_folder_that_cannot_be_used_is_named_at_the_start(tmp_path: Path, is_file: bool) -> None:
    root = tmp_path / "spool"
    if is_file:
        root.touch()
    with pytest.raises(ConfigError, match=r"spool\.root: .* is not a folder"):
        FrontSpools(SpoolSettings(root=root))
    FrontSpools(SpoolSettings(root=tmp_path))
