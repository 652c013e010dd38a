from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pagent.client.event_parser import EventParser, ServerEvent

STREAM = (
    ":a comment\nid: a-1\nevent: job.state\ndata: {\n"
    'data:  "ü"}\n\n'
    "data\r\n\r\nretry: 5\nid: a-2\n\nevent: x\n\nid: a\0\ndata:b\n\nid: a-3\ndata: cut"
).encode()
EVENTS = [
    ServerEvent("a-1", "job.state", '{\n "ü"}'),
    ServerEvent("a-1", "message", ""),
    ServerEvent("a-2", "message", "b"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_every_split_gives_the_same_events(cuts: list[int]) -> None:
    parser, found, begin = EventParser(), list[ServerEvent](), 0
    for end in [*sorted(cuts), len(STREAM)]:
        found += parser.feed(STREAM[begin:end])
        begin = end
    assert found == EVENTS


@given(st.binary())
def test_no_bytes_are_an_error(data: bytes) -> None:
    EventParser().feed(data)
