"""The limit on descriptors, in a process of its own: a limit cannot be raised again."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from pagent.runtime.descriptors import descriptor_shortage, open_limit
from tests.kit.peer import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such limit")

SCRIPT = """
import os, resource
from pagent.runtime.descriptors import descriptor_shortage, open_limit, original_limit, raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
before = original_limit()
raise_limit()
print(before, original_limit(), resource.getrlimit(resource.RLIMIT_NOFILE), open_limit(7))
assert descriptor_shortage() is None
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 200))
print(type(descriptor_shortage()).__name__, descriptor_shortage().errno)
"""


def test_the_limit_is_raised_and_the_original_one_remembered_for_jobs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.split("\n") == ["(100, 200) (100, 200) (200, 200) 200", "OSError 24", ""]


def test_an_unlimited_process_counts_as_the_caller_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert open_limit(7) == 7


def test_a_process_with_descriptors_has_no_shortage() -> None:
    assert descriptor_shortage() is None
