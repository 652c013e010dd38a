from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from pagent.jobs.cgroup import CgroupLoad, OwnCgroup, usable_cpus


def cgroups(root: Path, path: str, files: dict[str, str]) -> OwnCgroup | None:
    """The cgroup of a process in ``path``; ``files`` are relative to the root."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    own = root / "proc-self-cgroup"
    own.write_text(f"4:memory:/old\n0::{path}\n")
    return OwnCgroup.find(root, own)


@pytest.mark.parametrize(
    "files", [{}, {"a/cpu.max": "max 100000\n", "a/memory.max": "max\n"}, {"a/cpu.max": "", "a/memory.max": "x"}]
)
def test_a_cgroup_without_a_limit_does_not_count(tmp_path: Path, files: dict[str, str]) -> None:
    assert cgroups(tmp_path, "/a", files) is None


def test_no_cgroup_of_version_2(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:memory:/a\n")
    assert OwnCgroup.find(tmp_path, own) is None
    assert OwnCgroup.find(tmp_path, tmp_path / "missing") is None


def test_a_container_has_its_cgroup_as_the_root(tmp_path: Path) -> None:
    found = cgroups(tmp_path, "/", {"cpu.max": "150000 100000\n", "cpu.stat": "usage_usec 2500000\nuser_usec 1\n"})
    assert found is not None
    assert (found.cpus(), found.memory_max(), found.cpu_s()) == (1.5, math.inf, 2.5)


def test_the_tightest_limit_counts(tmp_path: Path) -> None:
    files = {
        "a/memory.max": "1000\n",
        "a/b/memory.max": "2000\n",
        "a/b/cpu.max": "400000 100000",
        "a/cpu.max": "max 100000",
        "memory.max": "max",
        "a/b/memory.current": "700\n",
        "a/memory.current": "900\n",
        "a/b/memory.stat": "anon 1\ninactive_file 200\n",
    }
    found = cgroups(tmp_path, "/a/b", files)
    assert found is not None
    assert (found.memory_max(), found.cpus(), found.memory_available()) == (1000, 4.0, 100)


def test_a_path_that_leads_out_of_the_namespace_counts_as_none(tmp_path: Path) -> None:
    assert cgroups(tmp_path / "root", "/../outside", {"../outside/memory.max": "1000\n"}) is None


def test_the_load_follows_the_use_within_a_minute() -> None:
    used, now = 100.0, 0.0
    load = CgroupLoad(lambda: used, lambda: now)
    assert load.read() == 0
    used, now = 104.0, 2.0
    assert load.read() == 2.0
    assert load.read() == 2.0
    now = 62.0
    assert load.read() == pytest.approx(2 / math.e)
    now = 10_000.0
    assert load.read() < 0.001


def test_the_load_of_a_counter_that_was_reset_is_not_negative() -> None:
    used, now = 100.0, 0.0
    load = CgroupLoad(lambda: used, lambda: now)
    used, now = 0.0, 1.0
    assert load.read() == 0


def test_the_cpus() -> None:
    assert 0 < usable_cpus() <= (os.cpu_count() or 1)
