from __future__ import annotations

import pytest

from pagent.http1 import fields
from pagent.http1.fields import connection, content_length, is_token, kind_of, kind_of_token
from pagent.limits import BODY_LENGTH_MAX, CONNECTION_FIELD_MAX


@pytest.mark.parametrize("text", ["GET", "x", "!#$%&'*+-.^_`|~09azAZ"])
def test_tokens(text: str) -> None:
    assert is_token(text)


@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "a:", "ä", "a\x00", "(a)", "a/b", "a@b", 'a"', "a,b"])
def test_no_tokens(text: str) -> None:
    assert not is_token(text)
    with pytest.raises(ValueError, match="not a token"):
        kind_of(text)


def test_the_tables_agree_with_the_rule() -> None:
    assert {kind_of(name) for name in fields.ORDINARY} == {fields.END_TO_END}
    assert {kind_of_token(name) for name in fields.ORDINARY} == {fields.END_TO_END}
    assert {name: kind_of(name) for name in fields.SPECIAL} == fields.SPECIAL
    assert fields.END_TO_END not in fields.SPECIAL.values()
    assert not set(fields.ORDINARY) & set(fields.SPECIAL)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cOnNeCtIoN", fields.CONNECTION),
        ("tRANSFER-eNCODING", fields.TRANSFER_ENCODING),
        ("CONTENT-LENGTH", fields.CONTENT_LENGTH),
        ("te", fields.TE),
        ("Te", fields.TE),
        ("TE", fields.TE),
        ("KEEP-ALIVE", fields.HOP_BY_HOP),
        ("x-" + "a" * 1000, fields.END_TO_END),
        ("Content-Length2", fields.END_TO_END),
    ],
)
def test_kinds_whatever_the_spelling(name: str, kind: int) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("value", "number"),
    [("0", 0), ("5", 5), ("0005", 5), ("5,5", 5), ("5, \t5 ,05", 5), (str(BODY_LENGTH_MAX), BODY_LENGTH_MAX)],
)
def test_lengths(value: str, number: int) -> None:
    assert content_length(value, None) == number
    assert content_length(value, number) == number
    with pytest.raises(ValueError, match="different"):
        content_length(value, number + 1)


@pytest.mark.parametrize(
    "value",
    ["", " ", "+5", "-5", "5_0", "0x5", "5.0", "5,", ",5", "5 5", "٥", "²", "5,6", "0" * 300, "5," * 200 + "5"],
)
def test_no_lengths(value: str) -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        content_length(value, None)


@pytest.mark.parametrize("value", [str(BODY_LENGTH_MAX + 1), "9" * 19, "1" * 20])
def test_lengths_are_bounded(value: str) -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        content_length(value, None)


def test_connection_options() -> None:
    options = connection(["Keep-Alive, X-One", "\tx-two ,,close"])
    assert (options.close, options.keep_alive) == (True, True)
    assert options.named == {"x-one", "x-two"}
    assert connection(["upgrade"]).named == set()
    assert not connection(["closed"]).close


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Cookie", "X-Forwarded-For", "Range"])
def test_connection_cannot_name_end_to_end_fields(name: str) -> None:
    assert connection([f"close, {name}, {name.lower()}"]).named == set()


def test_connection_is_bounded() -> None:
    assert len(connection(["x" * CONNECTION_FIELD_MAX]).named) == 1
    with pytest.raises(ValueError, match="too long"):
        connection(["x" * CONNECTION_FIELD_MAX, "y"])
