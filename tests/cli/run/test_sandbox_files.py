"""``pagent run --keep``: files that cannot be replaced, and folders that cannot be written."""

from __future__ import annotations

import os
import re
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


needs_mounts = pytest.mark.skipif(not has_mount_namespaces(), reason="needs to mount in a namespace of its own")


def run_mounted(script: str, *args: str | Path, jobs: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *args],
        env=environment(jobs),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@needs_mounts
def test_a_mounted_file_is_written_in_place(tmp_path: Path) -> None:
    jobs, keep, source = tmp_path / "jobs", tmp_path / "keep", tmp_path / "source"
    jobs.mkdir()
    keep.mkdir()
    (keep / "out.txt").touch()
    source.write_text("much longer than the new content")
    os.utime(source, (1_700_000_000, 1_700_000_000))
    script = 'mount --bind "$1" "$2/out.txt" && exec "$3" -m pagent run --sandbox --keep "$2" -- sh -c "$4"'
    made = "printf new >out.txt; exit 3; $PORT"
    done = run_mounted(script, source, keep, sys.executable, made, jobs=jobs)
    assert done.returncode == 3
    assert done.stderr.endswith(f"pagent: 1 file downloaded to {keep}\n")
    assert source.read_text() == "new"
    assert os.listdir(keep) == ["out.txt"]


@needs_mounts
def test_files_for_a_full_disk_are_kept_elsewhere(tmp_path: Path) -> None:
    jobs, keep = tmp_path / "jobs", tmp_path / "keep"
    jobs.mkdir()
    keep.mkdir()
    script = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -m pagent run --sandbox --keep "$1" -- sh -c "$3"'
    made = "head -c 300000 /dev/zero >large; mkdir sub; echo small >sub/small; exit 3; $PORT"
    done = run_mounted(script, keep, sys.executable, made, jobs=jobs)
    assert done.returncode == 3
    said = re.search(
        r"pagent: cannot write the job's files to (\S+): (.+); they are in (\S+) \(pagent help disk-full\)\n$",
        done.stderr,
    )
    assert said is not None, done.stderr
    assert said[1] == str(keep)
    assert "No space left on device" in said[2]
    kept = Path(said[3])
    assert (kept / "large").stat().st_size == 300_000
    assert (kept / "sub" / "small").read_text() == "small\n"
    assert sorted(path.name for path in kept.iterdir()) == ["large", "sub"]
    shutil.rmtree(kept)
