"""Signed values: made by one key, verified by all, for one purpose only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.access.signed import SigningKeys, key_id_of
from pagent.router_limits import SIGNED_VALUE_MAX

KEYS = SigningKeys([b"a" * 32, b"b" * 32])
VALUE = KEYS.sign("ticket", b"content")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."


@given(st.binary(max_size=300), st.text(max_size=20))
def test_a_signed_value_is_verified(content: bytes, purpose: str) -> None:
    value = KEYS.sign(purpose, content)
    assert set(value) <= set(ALPHABET)
    assert KEYS.verify(purpose, value) == content
    assert KEYS.verify(purpose + "x", value) is None
    assert SigningKeys.random().verify(purpose, value) is None


@given(st.integers(0, len(VALUE) - 1), st.sampled_from([*ALPHABET, "=", "\n", "é", " "]))
def test_no_character_can_be_another(index: int, other: str) -> None:
    """The last character of base64 has spare bits: a lenient decoder would take several values for one."""
    changed = VALUE[:index] + other + VALUE[index + 1 :]
    assert (KEYS.verify("ticket", changed) is not None) is (changed == VALUE)


@given(st.integers(0, len(VALUE) - 1))
def test_no_part_is_a_value(index: int) -> None:
    assert KEYS.verify("ticket", VALUE[:index]) is None
    assert KEYS.verify("ticket", VALUE[index + 1 :]) is None
    assert KEYS.verify("ticket", VALUE + VALUE[:index]) is None or index == 0


@given(st.text(max_size=100) | st.from_regex(r"\A[0-9a-f]{8}\.[\w-]{0,60}\.[\w-]{43}\Z"))
def test_any_text_is_none(text: str) -> None:
    assert KEYS.verify("ticket", text) is None


def test_dots_do_not_move() -> None:
    """The signature covers the dots, so no part can give characters to its neighbour."""
    key, content, signature = VALUE.split(".")
    for other in (
        f"{key}{content}.{signature}",
        f"{key}.{content[:-1]}.{content[-1]}{signature}",
        f"{key}.{content}.{signature}.",
        f".{key}.{content}.{signature}",
        f"{key}..{signature}",
    ):
        assert KEYS.verify("ticket", other) is None


def test_a_huge_value() -> None:
    content = b"x" * SIGNED_VALUE_MAX
    assert KEYS.verify("ticket", KEYS.sign("ticket", content)) is None
    assert KEYS.verify("ticket", f"{key_id_of(VALUE)}.{'A' * (1 << 20)}.{'A' * 43}") is None


def test_rotation() -> None:
    """The new key is put first; values of the former key stay valid until it is removed."""
    before = SigningKeys([b"a" * 32])
    value = before.sign("ticket", b"content")
    rotated = SigningKeys([b"b" * 32, b"a" * 32])
    assert rotated.verify("ticket", value) == b"content"
    assert key_id_of(rotated.sign("ticket", b"content")) != key_id_of(value)
    assert before.verify("ticket", rotated.sign("ticket", b"content")) is None
    assert SigningKeys([b"b" * 32]).verify("ticket", value) is None
    assert key_id_of(value) in rotated
    assert key_id_of(value) not in SigningKeys([b"b" * 32])


def test_a_value_holds_no_key() -> None:
    key = b"secret-" * 5
    value = SigningKeys([key]).sign("ticket", b"content")
    assert key.decode() not in value
    assert key_id_of(value) not in key.hex()


@pytest.mark.parametrize("purpose", ["", "ticket", "ticket 1", "a" * 1000])
def test_purposes_are_separate(purpose: str) -> None:
    value = KEYS.sign(purpose, b"content")
    for other in ("code", purpose + " ", purpose.upper() + "x"):
        assert KEYS.verify(other, value) is None
