from __future__ import annotations

import pytest

from pagent.cli.outcome import describe_end, exit_code


@pytest.mark.parametrize(
    ("code", "signal", "text", "expected"),
    [
        (None, None, "", 0),
        (0, None, "with exit code 0", 0),
        (7, None, "with exit code 7", 7),
        (None, "SIGTERM", "by SIGTERM", 143),
        (None, "SIGRTMIN+1", "by SIGRTMIN+1", 163),
    ],
)
def test_the_end_of_a_process(code: int | None, signal: str | None, text: str, expected: int) -> None:
    info = {"exit_code": code, "signal": signal}
    assert (describe_end(info), exit_code(info)) == (text, expected)
