"""The gate of the dashboard of an open router, without a router."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from pagent.access.closed import ClosedGate
from pagent.access.dashboard import ANONYMOUS, dashboard_table, served_hosts
from pagent.access.operations import EXEC, JOBS, LOGS, PAGE, PROBE, PROXY, READ, SCOPES, TICKETS
from pagent.errors import RequestRefusedError
from pagent.http1.incoming import read_head
from pagent.rpc.directory import Client, Subject

CLIENT = Client("127.0.0.1", 1, False, False, 2)
HOST = "127.0.0.1:8163"
TOKEN = ("Authorization: Bearer one",)


async def make(*tokens: str, anonymous_reads: bool = True, refusal: str = "") -> ClosedGate:
    table = dashboard_table(tokens, anonymous_reads=anonymous_reads)
    return ClosedGate(Mock(), table, is_served=served_hosts(["Desk.Example"]), refusal=refusal)


def judge(gate: ClosedGate, operation: str, *fields: str, host: str = HOST) -> Subject | int:
    """The subject of a request, or the status of its refusal."""
    head = read_head("\r\n".join(["GET / HTTP/1.1", f"Host: {host}", *fields]).encode())
    try:
        return gate.judge(operation, None, head, CLIENT)
    except RequestRefusedError as error:
        return error.status


async def test_without_a_token_a_request_can_only_read() -> None:
    gate = await make("one")
    assert judge(gate, READ) == ANONYMOUS
    for operation in set(SCOPES) - {READ}:
        assert judge(gate, operation) == 401


async def test_a_token_may_do_everything_and_its_name_is_not_the_token() -> None:
    gate = await make("one", "two", "one")
    for operation in {*SCOPES, TICKETS} - {PROXY}:  # of job traffic the token is in another field
        subject = judge(gate, operation, "Authorization: Bearer two")
        assert isinstance(subject, Subject)
        assert subject.name == "dashboard-2"
    assert judge(gate, READ, "Authorization: Bearer three") == 401


async def test_with_tokens_of_control_reading_needs_one() -> None:
    gate = await make("one", anonymous_reads=False)
    assert judge(gate, READ) == 401
    assert judge(gate, PAGE) == Subject(None)


@pytest.mark.parametrize("operation", [READ, JOBS, LOGS, EXEC, PAGE])
async def test_other_names_are_refused_because_of_dns_rebinding(operation: str) -> None:
    gate = await make("one")
    assert judge(gate, operation, *TOKEN, host="evil.example") == 403
    assert judge(gate, operation, *TOKEN, host="127.0.0.1.evil.example:8163") == 403
    assert judge(gate, operation, *TOKEN, host="desk.example") != 403
    assert judge(gate, PROBE, host="10.0.0.1") == Subject(None)


@pytest.mark.parametrize(
    "fields",
    [
        ("Origin: http://evil.example",),
        ("Origin: http://127.0.0.1:9000",),  # another port is the page of a job
        ("Origin: null",),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
    ],
)
async def test_pages_of_other_origins_get_the_page_and_nothing_of_the_api(fields: tuple[str, ...]) -> None:
    gate = await make("one")
    for operation in (READ, JOBS, LOGS):
        assert judge(gate, operation, *fields) == 403
        assert judge(gate, operation, *fields, *TOKEN) == 403
    assert judge(gate, PAGE, *fields) == Subject(None)


async def test_beyond_the_loopback_nothing_is_served() -> None:
    gate = await make("one", refusal="not here")
    for check in (gate.check_beyond, lambda: gate.judge(PAGE, None, read_head(b"GET / HTTP/1.1\r\nHost: a"), CLIENT)):
        with pytest.raises(RequestRefusedError, match="not here"):
            check()


async def test_other_tokens_end_streams_of_removed_tokens() -> None:
    gate, ended = await make("one"), list[str]()
    for subject in (judge(gate, READ), judge(gate, READ, *TOKEN)):
        assert isinstance(subject, Subject)
        gate.lease(subject, lambda name=subject.name: ended.append(name), stream=False)
    gate.renew(dashboard_table(["one", "two"], anonymous_reads=True))
    assert ended == []
    gate.renew(dashboard_table(["two"], anonymous_reads=True))
    assert ended == ["dashboard-1"]
    gate.renew(dashboard_table(["two"], anonymous_reads=False))
    assert ended == ["dashboard-1", "anonymous"]
