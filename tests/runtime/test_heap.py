"""Freed memory is used again, and loaded objects are excluded from garbage collection."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: How many page faults it takes to make and drop ten blocks of 100 kB, 200 times.
SCRIPT = """
import resource, sys
if sys.argv[1] == "keep":
    from pagent.runtime.heap import keep_freed_memory
    keep_freed_memory()
def use():
    blocks = [bytearray(100_000) for _ in range(10)]
    blocks.clear()
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_blocks_of_some_hundred_kib_take_no_new_pages() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, check=True, text=True)
        return int(done.stdout)

    assert faults("keep") < 200
    assert faults("leave") > 20_000


LOADED = """
import gc, pagent.agent
from pagent.runtime.heap import freeze_loaded
before = len(gc.get_objects())
freeze_loaded()
class Cycle: pass
cycle = Cycle()
cycle.itself = cycle
del cycle
print(before, len(gc.get_objects()), gc.collect())
"""


def test_the_collector_looks_only_at_what_is_made_later() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, check=True, text=True)
    before, after, found = map(int, done.stdout.split())
    assert before > 10_000
    assert after < 1000
    assert found > 0
