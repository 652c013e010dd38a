from __future__ import annotations

import pytest

from pagent.access.gate import AccessGate
from pagent.access.operations import ADMIN, APPS, FILES, JOBS, NONE, PROBE, PROXY, READ, RPC, WSCONNECT
from pagent.errors import RequestRefusedError
from pagent.http1.incoming import read_head
from pagent.rpc.directory import Client, Subject

API = (NONE, READ, JOBS, FILES, ADMIN, WSCONNECT)
CLIENT = Client("127.0.0.1", 1, False, False, 2)


def gate(*, loopback: bool, beyond: bool = False) -> AccessGate:
    return AccessGate(loopback=loopback, allowed_hosts=["Router.Example"], beyond=beyond)


def passes(judge: AccessGate, operation: str, host: str, *fields: str) -> bool:
    lines = ["GET / HTTP/1.1", f"Host: {host}", *fields]
    try:
        subject = judge.judge(operation, None, read_head("\r\n".join(lines).encode()), CLIENT)
    except RequestRefusedError as error:
        assert error.status == 403  # noqa: PT017
        return False
    assert subject == Subject(None)
    return True


@pytest.mark.parametrize("operation", API)
def test_the_api_on_the_loopback_knows_its_names(operation: str) -> None:
    judge = gate(loopback=True)
    assert passes(judge, operation, "127.0.0.1:1")
    assert passes(judge, operation, "router.example")
    assert not passes(judge, operation, "evil.example")
    assert not passes(judge, operation, "127.0.0.1", "Origin: http://evil.example")
    assert not passes(judge, operation, "127.0.0.1", "origin: null")
    assert not passes(judge, operation, "127.0.0.1", "Sec-Fetch-Site: cross-site")


@pytest.mark.parametrize("operation", API)
def test_the_api_on_other_addresses_has_any_name_but_no_foreign_page(operation: str) -> None:
    judge = gate(loopback=False)
    assert passes(judge, operation, "any.example")
    assert passes(judge, operation, "any.example:8", "Origin: https://any.example:8", "Sec-Fetch-Site: same-origin")
    assert not passes(judge, operation, "any.example:8", "Origin: https://any.example:9")
    assert not passes(judge, operation, "any.example", "Origin: https://evil.example")
    assert not passes(judge, operation, "any.example", "Sec-Fetch-Site: same-site")


@pytest.mark.parametrize("operation", [PROXY, PROBE])
@pytest.mark.parametrize("loopback", [True, False])
def test_job_traffic_and_probes_come_from_everywhere(operation: str, loopback: bool) -> None:
    fields = ("Origin: http://evil.example", "Sec-Fetch-Site: cross-site")
    assert passes(gate(loopback=loopback), operation, "evil.example", *fields)


def test_the_jobs_own_names_are_for_the_loopback_unless_the_router_is_open_beyond_it() -> None:
    fields = ("Origin: http://evil.example", "Sec-Fetch-Site: cross-site")
    assert passes(gate(loopback=True), APPS, "job.localhost", *fields)
    assert not passes(gate(loopback=False), APPS, "job.localhost")
    assert passes(gate(loopback=False, beyond=True), APPS, "job.localhost", *fields)


def test_a_refusal_beyond_the_loopback_names_the_keys() -> None:
    with pytest.raises(RequestRefusedError) as caught:
        gate(loopback=False).judge(RPC, None, read_head(b"GET / HTTP/1.1\r\nHost: any.example"), CLIENT)
    text = str(caught.value)
    assert all(f"access.{key}" in text for key in ("tokens", "tokens_file", "header", "open"))
    assert "\n" not in text


def test_links_of_clients_are_for_the_loopback_unless_the_router_is_open_beyond_it() -> None:
    assert passes(gate(loopback=True), RPC, "localhost")
    assert not passes(gate(loopback=True), RPC, "evil.example")
    assert not passes(gate(loopback=False), RPC, "any.example")
    assert passes(gate(loopback=False, beyond=True), RPC, "any.example")
