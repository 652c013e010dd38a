"""``pagent run --keep``: files that cannot be replaced."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.commands import environment
from tests.kit.peer import PATIENCE_S


def has_mount_namespaces() -> bool:
    command = ["unshare", "--mount", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_mount_namespaces(), reason="needs to mount a file in a namespace of its own")
def test_a_mounted_file_is_written_in_place(tmp_path: Path) -> None:
    jobs, keep, source = tmp_path / "jobs", tmp_path / "keep", tmp_path / "source"
    jobs.mkdir()
    keep.mkdir()
    (keep / "out.txt").touch()
    source.write_text("much longer than the new content")
    os.utime(source, (1_700_000_000, 1_700_000_000))
    script = 'mount --bind "$1" "$2/out.txt" && exec "$3" -m pagent run --sandbox --keep "$2" -- sh -c "$4"'
    made = "printf new >out.txt; exit 3; $PORT"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", source, keep, sys.executable, made],
        env=environment(jobs),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.endswith(f"pagent: 1 file downloaded to {keep}\n")
    assert source.read_text() == "new"
    assert os.listdir(keep) == ["out.txt"]
