"""Names of files in requests and in fields of answers."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from pagent.names import from_wire, to_wire, written
from pagent.web.v1.paths import attachment


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_name_never_leaves_its_field(name: str) -> None:
    field = attachment(name)
    assert field.isascii()
    assert field.isprintable()
    start, plain, rest = field.split('"')
    assert start == "attachment; filename="
    assert "\\" not in plain
    assert rest.startswith("; filename*=UTF-8''")
    assert ";" not in rest[1:]
    assert "/" not in unquote(rest)


def test_names_of_attachments() -> None:
    assert attachment("a/b c.txt") == "attachment; filename=\"b c.txt\"; filename*=UTF-8''b%20c.txt"
    assert attachment("é") == "attachment; filename=\"_\"; filename*=UTF-8''%C3%A9"
    assert attachment("\u202etxt.exe") == "attachment; filename=\"_txt.exe\"; filename*=UTF-8''_txt.exe"
    assert attachment("/") == "attachment; filename=\"file\"; filename*=UTF-8''file"


@given(st.binary())
def test_both_spellings_are_one_path(data: bytes) -> None:
    form = to_wire(data.decode("utf-8", "surrogateescape"))
    assert written(form.encode()) == form
    if form == written(data):  # the bytes are no name in the form of listings themselves
        assert from_wire(written(data)).encode("utf-8", "surrogateescape") == data
