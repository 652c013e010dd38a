"""The last output of a command, however it is cut into pieces."""

from __future__ import annotations

import pytest

from pagent.relay.pools.output import TAIL_BYTES, OutputTail

LINES = b"srun: job 7 queued\npagent: joining\n\n"


@pytest.mark.parametrize("at", range(len(LINES)))
def test_lines_in_pieces(at: int) -> None:
    output = OutputTail()
    output.add("stdout", LINES[:at])
    output.add("stderr", b"other")  # the unfinished line of another stream
    output.add("stdout", LINES[at:])
    assert output.is_joining
    assert output.last_line == "pagent: joining"


def test_the_end_is_kept() -> None:
    output = OutputTail()
    output.add("stdout", b"x" * TAIL_BYTES + b"end\xff\n")
    assert output.text == "x" * (TAIL_BYTES - 5) + "end\N{REPLACEMENT CHARACTER}"
    assert not output.is_joining
