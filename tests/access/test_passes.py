"""What cookies and codes say: no other value is taken for one, whatever its router has signed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pagent.access.passes import EntryCode, TicketPass, read_code, read_pass, sign_code, sign_pass
from pagent.access.signed import SigningKeys

KEYS = SigningKeys([b"k" * 32])
PASS = TicketPass("x.localhost", "A", "job", (80,), "Änn", "id", 1000, 2000)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=20,
)


@given(st.text(), st.lists(st.integers(1, 65535)), st.text(), st.integers(), st.booleans())
def test_round_trip(place: str, ports: list[int], subject: str, expires: int, embed: bool) -> None:
    entry = PASS._replace(place=place, ports=tuple(ports), subject=subject, expires=expires)
    value = sign_pass(KEYS, entry)
    assert read_pass(KEYS, value) in (entry, None)  # None: longer than any cookie
    assert read_code(KEYS, value) is None
    code = EntryCode(entry, embed, expires)
    value = sign_code(KEYS, code)
    assert read_code(KEYS, value) in (code, None)
    assert read_pass(KEYS, value) is None


@given(st.text(max_size=200))
def test_any_text_is_none(text: str) -> None:
    assert read_pass(KEYS, text) is None
    assert read_code(KEYS, text) is None


@given(json_values)
def test_any_content_that_is_signed(content: Any) -> None:
    """A router of another release may sign something else with the same keys."""
    for purpose, read in (("ticket", read_pass), ("ticket code", read_code)):
        found = read(KEYS, KEYS.sign(purpose, json.dumps(content).encode()))
        assert found is None or purpose == "ticket" or found.entry.ports is not None
    assert read_pass(KEYS, KEYS.sign("ticket", b"\xff[")) is None
    assert read_pass(KEYS, KEYS.sign("ticket", b"[" * 2000)) is None


def test_times() -> None:
    """The clock of the router that made it may be up to a minute ahead, or late if ``leeway_s`` says so."""
    assert not PASS.is_timely(939, 60)
    assert PASS.is_timely(940, 60)
    assert PASS.is_timely(1999, 0)
    assert not PASS.is_timely(2000, 0)
    assert PASS.is_timely(2059, 60)
    assert not PASS.is_timely(2060, 60)
