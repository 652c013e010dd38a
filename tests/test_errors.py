"""The text of an error for a peer."""

from __future__ import annotations

import pytest

from pagent.errors import StuckError, text_for_peer


@pytest.mark.parametrize(
    ("error", "given", "text"),
    [
        (OSError(28, "No space left on device", "/var/x"), (), "[Errno 28] No space left on device"),
        (OSError(28, "No space left on device", b"/var/x"), (), "[Errno 28] No space left on device"),
        (OSError(18, "Cross-device link", "a", None, "/var/x"), (), "[Errno 18] Cross-device link"),
        (FileNotFoundError(2, "No such file", "C:\\x"), (), "[Errno 2] No such file"),
        (FileNotFoundError(2, "No such file", "a/b"), (), "[Errno 2] No such file: 'a/b'"),
        (FileNotFoundError(2, "No such file", "/x"), (["uid", ["/x", "y"]], {}), "[Errno 2] No such file: '/x'"),
        (FileNotFoundError(2, "No such file", "/x"), ([], {"args": ("/x",)}), "[Errno 2] No such file: '/x'"),
        (FileNotFoundError(2, "No such file", "/x"), ([], {"args": ("/x/y",)}), "[Errno 2] No such file"),
        (OSError(24, "Too many open files"), (), "[Errno 24] Too many open files"),
        (OSError("only a text"), (), "only a text"),
        (StuckError("no answer"), (), "no answer"),
        (ValueError("/var/x"), (), "/var/x"),
    ],
)
def test_no_error_for_a_peer_has_a_path_of_the_machine(error: Exception, given: tuple[object, ...], text: str) -> None:
    assert text_for_peer(error, *given) == text
