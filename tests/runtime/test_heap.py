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


#: Print the resident memory before and while 200 MB are in use, when they are free, and when the trimmer has looked.
FREED = """
import asyncio, sys
from pagent.runtime.heap import HeapTrimmer, keep_freed_memory
from pagent.runtime.resident import resident_bytes

async def main():
    keep_freed_memory()
    print(resident_bytes())
    trimmer = HeapTrimmer(asyncio.get_running_loop(), 0.1)
    blocks = [bytes(b"x") * size for size in (100_000, 600) * 2000]
    print(resident_bytes())
    del blocks[::2]
    print(resident_bytes())
    async with asyncio.timeout(10):
        while resident_bytes() > 100_000_000:
            await asyncio.sleep(0.05)
    print(resident_bytes())
    trimmer.close()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_what_malloc_keeps_between_blocks_that_live_on_is_returned() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, check=True, text=True)
    before, full, free, trimmed = map(int, done.stdout.split())
    assert full > before + 180_000_000
    assert free > before + 180_000_000
    assert trimmed < before + 40_000_000


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
