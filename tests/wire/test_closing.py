"""The contents of close frames: valid codes, and reasons that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.wire import closing
from pagent.wire.closing import CLOSE_REASON_MAX, check_close, close_payload, valid_close_code


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 4999])
def test_codes_that_may_be_sent(code: int) -> None:
    assert valid_close_code(code)
    check_close(code, "r" * CLOSE_REASON_MAX)


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 70_000])
def test_codes_that_may_not_be_sent(code: int) -> None:
    assert not valid_close_code(code)
    with pytest.raises(ValueError, match=f"close code {code} may not be sent"):
        check_close(code, "")


def test_a_reason_that_is_too_long_in_utf_8() -> None:
    with pytest.raises(ValueError, match="at most 123 bytes"):
        check_close(1000, "ü" * 62)


@given(st.text())
def test_a_payload_has_the_code_and_as_much_of_the_reason_as_fits(reason: str) -> None:
    payload = close_payload(1000, reason)
    assert payload[:2] == b"\x03\xe8"
    assert len(payload) <= 125
    given_bytes = reason.encode("utf-8", "replace")
    assert given_bytes.startswith(payload[2:])
    assert len(given_bytes) - len(payload[2:]) < 4 or len(payload) > 121
    payload[2:].decode()


@pytest.mark.parametrize("code", [1005, 1006])
def test_codes_without_a_frame_have_no_payload(code: int) -> None:
    assert close_payload(code, "gone") == b""


def test_named_codes_may_be_sent() -> None:
    codes = [value for name, value in vars(closing).items() if name.isupper() and name != "CLOSE_REASON_MAX"]
    assert len(codes) == 7
    assert all(map(valid_close_code, codes))
