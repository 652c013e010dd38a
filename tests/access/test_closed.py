"""A closed router: requests, upgrades and calls of clients with tokens of every scope."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from pagent.access.operations import METHODS, SCOPE_OF, SCOPES
from pagent.client import AgentClient, connect_agent
from pagent.config.router import Access, AccessToken
from pagent.errors import DialError, LinkClosedError, MethodError
from pagent.log import AUDIT_LOG
from pagent.relay.service import RelayService
from pagent.web.router_app import routes_of
from pagent.web.v1.table import v1_routes
from pagent.web.wsconnect import WebSocketJoins
from pagent.wire import messages
from tests.access.conftest import HEADER, TOKENS, Closed, bearer, for_jobs, token
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import Answer, ask
from tests.kit.wire import Wire, wire

#: Requests of the API by the scope that each needs; ``{job}`` is a job of Ann, which has ended in none of them.
REQUESTS: dict[str, tuple[str, bytes | dict[str, Any]]] = {
    "GET /connections": ("read", b""),
    "GET /metrics": ("read", b""),
    "POST /jobs/create": ("jobs", {"name": "x", "agent": {"type": "uid", "uid": "A"}}),
    "POST /jobs/{connection}/{job}/start": ("jobs", {"args": ["true"], "env": {}}),
    "POST /jobs/{connection}/{job}/wait": ("read", b""),
    "GET /jobs/{connection}/{job}/info": ("read", b""),
    "POST /jobs/{connection}/{job}/info": ("read", b""),
    "POST /jobs/{connection}/{job}/remove": ("jobs", b""),
    "POST /jobs/{connection}/{job}/wsconnect/{rest}": ("proxy", {"url": "ws://127.0.0.1:1/"}),
    "* /jobs/{connection}/{job}/file/{rest}": ("files", b""),
    "* /jobs/{connection}/{job}/archive": ("files", b""),
    "POST /shutdown": ("admin", b""),
}
#: Those that need no token, and the links of clients.
FREE = {"GET /livez", "GET /readyz", "GET /info", "GET /rpc/v1"}


def requests_for(job: str) -> list[tuple[str, str, bytes | dict[str, Any], str]]:
    """Method, target, body and scope of a request of each route."""
    found = []
    for route, (scope, body) in REQUESTS.items():
        method, path = route.split()
        target = path.format(connection="-", job=job, rest="rest")
        found.append(("GET" if method == "*" else method, target, body, scope))
    return [*found, ("HEAD", f"/jobs/-/{job}/info", b"", "read"), ("HEAD", "/connections", b"", "read")]


async def test_each_route_and_each_method_has_an_operation(closed: Closed) -> None:
    gate = closed.router.gate
    routes = Mock()
    table = routes_of(routes, WebSocketJoins(routes, gate), lambda subject: None)
    names = {f"{route.method} {route.path}".replace(":.*", "").replace(":.+", "") for route in table}
    assert names == REQUESTS.keys() | FREE
    assert all(route.operation in SCOPE_OF for route in table if route.operation not in ("none", "probe"))
    assert (
        RelayService(closed.router.directory, gate, closed.router.pools, closed.router.figures).methods().keys()
        <= METHODS.keys()
    )
    assert set(METHODS.values()) <= set(SCOPES)


async def test_without_a_token_every_request_is_401(closed: Closed) -> None:
    for method, target, body, _ in requests_for(closed.job):
        answer = await ask(closed.port, method, target, body)
        assert (answer.status, answer["WWW-Authenticate"]) == (401, "Bearer"), target
    for target in (f"/jobs/-/{closed.job}/http/", "/jobs/-/none/http/", "/jobs/x/y/http/"):
        answer = await ask(closed.port, "GET", target)
        assert (answer.status, answer["WWW-Authenticate"]) == (401, "Bearer")
    for target in ("/nowhere", "//info", "/jobs/-", f"//jobs//-/{closed.job}/info"):
        assert (await ask(closed.port, "GET", target)).status == 401
    for target in ("/livez", "/readyz", "/info"):
        assert (await ask(closed.port, "GET", target)).status == 200


async def test_every_route_of_v1_needs_the_scope_of_its_operation(closed: Closed) -> None:
    for route in v1_routes(Mock(), closed.router.gate, Mock()):
        target = re.sub(r":[^}]*}", "}", route.path).format(job=closed.job, agent="A", path="f", ticket="t", pool="p")
        expected = 200 if route.operation == "none" else 401
        assert (await ask(closed.port, route.method, target)).status == expected, target
        if route.operation != "none":
            answer = await closed.api("none", route.method, target, b"{}")
            assert answer.status in (403, 404), target
        if route.operation in SCOPES and "{job}" in route.path:
            answer = await closed.api(f"own-{route.operation}", route.method, target)
            assert answer.status == 404, target


async def test_a_scope_permits_its_requests_and_no_others(closed: Closed) -> None:
    """Requests with ``scope!any``; 403 or 404 stands for a request that is refused."""
    for scope in SCOPES:
        await check_requests_of(closed, scope)


async def check_requests_of(closed: Closed, scope: str) -> None:
    for method, target, body, needed in requests_for(closed.job):
        if needed == scope and target.endswith(("/remove", "/wait", "shutdown")):
            continue  # they would end the job, or wait for its end
        answer = await closed.api(f"any-{scope}", method, target, body)
        if needed == scope:
            assert answer.status not in (401, 403, 404) or "rest" in target, (target, answer)
        else:
            assert answer.status in (403, 404), (target, answer)
    traffic = await ask(closed.port, "GET", f"/jobs/-/{closed.job}/http/", headers=for_jobs(f"any-{scope}"))
    expected = 200 if scope == "proxy" else 404 if scope == "admin" else 403
    assert traffic.status == expected


async def test_a_scope_is_good_for_own_jobs_only(closed: Closed) -> None:
    for scope in SCOPES:
        await check_own_jobs_of(closed, scope)


async def check_own_jobs_of(closed: Closed, scope: str) -> None:
    for method, target, body, _ in requests_for(closed.job):
        if "/jobs/-/" in target:
            answer = await closed.api(f"own-{scope}", method, target, body)
            assert answer.status == 404, (target, answer)
            if method != "HEAD":
                assert answer.text == f"job {closed.job!r} is not found"
    traffic = await ask(closed.port, "GET", f"/jobs/-/{closed.job}/http/", headers=for_jobs(f"own-{scope}"))
    assert (traffic.status, traffic.text) == (404, f"job {closed.job!r} is not found")


async def test_a_job_of_another_looks_like_one_that_does_not_exist(closed: Closed) -> None:
    (link,) = closed.router.directory.table
    for connection in ("-", link.connection_id, "0" * 32, "x"):
        await check_absence(closed, connection)


async def check_absence(closed: Closed, connection: str) -> None:
    answers = []
    for job in (closed.job, "f" * 32):
        for path in ("info", "http/"):
            headers = [*bearer("bob"), *for_jobs("bob")]
            answer = await ask(closed.port, "GET", f"/jobs/{connection}/{job}/{path}", headers=headers)
            answers.append((answer.status, answer.text.replace(job, "JOB")))
    assert answers[:2] == answers[2:]
    assert {status for status, _ in answers} == {404}


async def test_other_spellings_of_a_job_are_judged_as_the_job(closed: Closed) -> None:
    encoded = "".join(f"%{ord(char):02x}" for char in closed.job)
    for target in (f"/jobs/-/{encoded}/info", f"/jobs/%2d/{closed.job}/info", f"/%6aobs/-/{closed.job}/info"):
        assert (await closed.api("ann", "GET", target)).status in (200, 404)
        assert (await closed.api("bob", "GET", target)).status == 404
    for target in (f"/jobs/-/{closed.job}%2fhttp/", f"/jobs/-//{closed.job}/http/", f"/jobs/-/{encoded}/http/"):
        answer = await ask(closed.port, "GET", target, headers=[*bearer("bob"), *for_jobs("bob")])
        assert answer.status in (301, 404), answer


async def test_a_job_on_an_agent_that_a_token_is_good_for(closed: Closed) -> None:
    target = f"/jobs/-/{closed.job}/info"
    assert (await closed.api("here", "GET", target)).status == 200
    assert (await closed.api("elsewhere", "GET", target)).status == 404
    create = {"name": "x", "agent": {"type": "uid", "uid": "A"}}
    assert (await closed.api("here", "POST", "/jobs/create", create)).status == 200
    refused = await closed.api("elsewhere", "POST", "/jobs/create", create)
    assert (refused.status, refused.text) == (404, "no connected agent with uid 'A'")
    create["agent"] = {"type": "select", "uids": ["A", "B"]}
    assert (await closed.api("elsewhere", "POST", "/jobs/create", create)).status == 404


async def test_an_agent_by_its_address_needs_admin_and_the_list(closed: Closed) -> None:
    create = {"name": "x", "agent": {"type": "address", "address": "192.0.2.1:1", "token": "t"}}
    assert (await closed.api("ann", "POST", "/jobs/create", create)).status == 403
    answer = await closed.api("root", "POST", "/jobs/create", create)
    assert (answer.status, "dial.allow" in answer.text) == (403, True)


async def test_each_place_of_a_token_means_nothing_elsewhere(closed: Closed) -> None:
    api, job = f"/jobs/-/{closed.job}/info", f"/jobs/-/{closed.job}/http/"
    assert (await ask(closed.port, "GET", api, headers=for_jobs("ann"))).status == 401
    assert (await ask(closed.port, "GET", job, headers=bearer("ann"))).status == 401
    assert (await ask(closed.port, "GET", job, headers=[("X_Pagent_Token", "secret-ann")])).status == 401
    for twice in (bearer("ann") * 2, [*bearer("bob"), *bearer("ann")]):
        assert (await ask(closed.port, "GET", api, headers=twice)).status == 401
    assert (await ask(closed.port, "GET", job, headers=for_jobs("ann") * 2)).status == 401
    for value in ("Basic secret-ann", "secret-ann", "Bearer", "Bearer ", "Bearer secret-ann x", "Bearer secret-An"):
        assert (await ask(closed.port, "GET", api, headers=[("Authorization", value)])).status == 401, value
    for value in ("bearer secret-ann", "BEARER  secret-ann"):
        assert (await ask(closed.port, "GET", api, headers=[("authorization", value)])).status == 200, value


async def test_a_job_gets_its_own_authorization_and_no_field_of_the_router(closed: Closed) -> None:
    headers = [*for_jobs("ann"), ("Authorization", "Bearer of-the-job"), ("X_Pagent_Other", "x"), (HEADER, "eve")]
    headers += [(HEADER.replace("-", "_"), "eve"), ("Cookie", "pagent-ticket=x; a=b")]
    answer = await ask(closed.port, "GET", f"/jobs/-/{closed.job}/http/", headers=headers)
    assert answer.status == 200
    head = answer.text.lower()
    assert "authorization: bearer of-the-job" in head
    assert "cookie: a=b" in head
    for absent in ("pagent", "secret", "eve", "forwarded-user", "forwarded_user"):
        assert absent not in head


async def ask_from(
    closed: Closed, address: str, target: str, *headers: tuple[str, str], host: str = "localhost"
) -> Answer:
    """Ask from another address of the loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", closed.port, local_addr=(address, 0))
    async with asyncio.timeout(PATIENCE_S):
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n".encode())
        answer = await Wire(reader, writer).answer()
    writer.close()
    return Answer(answer.status, answer.fields, answer.body)


async def test_the_header_counts_from_a_trusted_proxy_only(closed: Closed) -> None:
    job = f"/jobs/-/{closed.job}/http/"
    for target in ("/connections", job):
        assert (await ask_from(closed, "127.0.0.7", target, (HEADER, "ann"))).status == 200
        assert (await ask_from(closed, "127.0.0.7", target, (HEADER.upper(), "ann"))).status == 200
        assert (await ask_from(closed, "127.0.0.1", target, (HEADER, "ann"))).status == 401
        for refused in ("", " ", "a\tb"):
            assert (await ask_from(closed, "127.0.0.7", target, (HEADER, refused))).status == 401
        assert (await ask_from(closed, "127.0.0.7", target, (HEADER, "ann"), (HEADER, ""))).status == 401
        assert (await ask_from(closed, "127.0.0.7", target, (HEADER, "ann"), (HEADER, "bob"))).status == 401
        assert (await ask_from(closed, "127.0.0.7", target, (HEADER.replace("-", "_"), "ann"))).status == 401
        assert (await ask_from(closed, "127.0.0.7", target, ("Connection", HEADER), (HEADER, "ann"))).status == 401
    assert (await ask_from(closed, "127.0.0.7", job, (HEADER, "bob"))).status == 404
    answer = await ask_from(closed, "127.0.0.7", job, (HEADER, "ann"), (HEADER.replace("-", "_"), "eve"))
    assert answer.status == 200
    assert "ann" not in answer.text
    assert "eve" not in answer.text
    foreign = await ask_from(closed, "127.0.0.7", "/connections", (HEADER, "ann"), ("Origin", "http://evil.example"))
    assert foreign.status == 403


async def test_a_page_whose_name_leads_to_the_router_names_no_user(closed: Closed) -> None:
    """Its browser is on the machine of the proxy, and has dialled the router."""
    for target in ("/connections", "/v1/jobs", f"/jobs/-/{closed.job}/http/", "/rpc/v1"):
        page = f"evil.example:{closed.port}"
        refused = await ask_from(closed, "127.0.0.7", target, (HEADER, "ann"), host=page)
        assert refused.status == 403
        assert "control.allowed_hosts" in refused.text
        assert (await ask_from(closed, "127.0.0.7", target, (HEADER, "ann"), host="desk.example:99")).status in (
            200,
            400,
        )
    answer = await ask_from(closed, "127.0.0.7", "/connections", ("Authorization", "Bearer secret-ann"), host=page)
    assert answer.status == 200


# --- calls of clients -------------------------------------------------------------------------------


@asynccontextmanager
async def client_of(closed: Closed, name: str) -> AsyncIterator[AgentClient]:
    async with connect_agent(f"127.0.0.1:{closed.port}", token=f"secret-{name}") as client:
        yield client


def call_types(closed: Closed) -> dict[str, int]:
    methods = RelayService(
        closed.router.directory, closed.router.gate, closed.router.pools, closed.router.figures
    ).methods()
    return {name: method.call_type for name, method in methods.items()}


async def call(client: AgentClient, name: str, call_type: int, *args: Any) -> str:
    """Make a call, and return the name of the error that it ends with; empty if it is accepted."""
    try:
        if call_type == messages.UNARY:
            await asyncio.wait_for(client.link.call(name, *args), 3)
        else:
            async with client.link.open_stream(call_type, name, *args) as stream:
                stream.close()
                await asyncio.wait_for(stream.result(), 3)
    except MethodError as error:
        return error.cause_type or ""
    except TimeoutError:
        return ""
    return ""


REFUSED = {"AccessDeniedError", "JobNotFoundError"}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "job_create": (),
    "job_list": (),
    "job_count_current_connection": (),
    "host_info": (),
    "agent_list": (),
    "agent_watch": (),
    "job_figures": (),
    "host_cordon": (True,),
    "host_end": (5.0, "A"),
}


async def test_a_link_needs_a_token(closed: Closed) -> None:
    for secret in ("", "any", "secret-"):
        with pytest.raises((DialError, LinkClosedError)):
            async with connect_agent(f"127.0.0.1:{closed.port}", token=secret) as client:
                await client.jobs()


async def test_a_scope_permits_its_methods_and_no_others(closed: Closed) -> None:
    for scope in SCOPES:
        await check_methods_of(closed, scope)


async def check_methods_of(closed: Closed, scope: str) -> None:
    async with client_of(closed, f"any-{scope}") as client:
        for name, call_type in call_types(closed).items():
            if METHODS[name] == scope:
                continue
            arguments = ARGUMENTS.get(name, (closed.job,))
            assert await call(client, name, call_type, *arguments) in REFUSED, name
    async with client_of(closed, f"own-{scope}") as client:
        for name, call_type in call_types(closed).items():
            if name in ARGUMENTS:
                continue
            assert await call(client, name, call_type, closed.job) in REFUSED, name
            assert await call(client, name, call_type, "f" * 32) == "JobNotFoundError", name


async def test_a_client_uses_its_own_jobs_and_sees_no_others(closed: Closed) -> None:
    async with client_of(closed, "bob") as client:
        assert await client.jobs() == []
        job = await client.create_job("mine", labels={"team": "blue"})
        assert [each.uid for each in await client.jobs()] == [job.uid]
        await job.start(["sleep", "60"], port_expected_count=0)
        async with job.exec(["true"]) as process:
            assert await process.wait() == 0
        assert (await closed.api("bob", "GET", f"/jobs/-/{job.uid}/info")).status == 200
        assert (await closed.api("ann", "GET", f"/jobs/-/{job.uid}/info")).status == 404
        with pytest.raises(MethodError, match="labels"):
            await client.create_job("x", labels={"pagent/owner": "ann"})
        with pytest.raises(MethodError) as caught:
            await client.link.call("job_list", closed.job)
        assert caught.value.cause_type == "JobNotFoundError"
    async with client_of(closed, "root") as client:
        assert {closed.job, job.uid} <= {each.uid for each in await client.jobs()}


# --- quotas -----------------------------------------------------------------------------------------


async def test_quotas_of_jobs(closed: Closed) -> None:
    create = {"name": "x", "agent": {"type": "uid", "uid": "A"}}
    job = await closed.create("limited")
    answer = await closed.api("limited", "POST", "/jobs/create", create)
    assert (answer.status, answer["Retry-After"]) == (429, "5")
    async with client_of(closed, "limited") as client:
        with pytest.raises(MethodError) as caught:
            await client.create_job()
        assert caught.value.cause_type == "QuotaExceededError"
        for _ in range(2):
            assert (await closed.api("limited", "POST", f"/jobs/-/{job}/remove")).status == 200
            job = await closed.create("limited")
        assert (await closed.api("limited", "POST", f"/jobs/-/{job}/remove")).status == 200
        answer = await closed.api("limited", "POST", "/jobs/create", create)
        assert answer.status == 429
        assert 30 < int(answer["Retry-After"] or 0) <= 60
        with pytest.raises(MethodError, match="in a minute"):
            await client.create_job()


async def test_the_quota_of_streams(closed: Closed) -> None:
    renewed = (
        *(each for each in TOKENS if each.name != "limited"),
        token("limited", "proxy!any", quota=TOKENS[5].quota),
    )
    await reload(closed, *renewed)
    target = f"/jobs/-/{closed.job}/http/"
    for _ in range(3):
        assert (await ask(closed.port, "GET", target, headers=for_jobs("limited"))).status == 200
    async with upgraded(closed, "limited"):
        answer = await ask(closed.port, "GET", target, headers=for_jobs("limited"))
        assert (answer.status, answer["Retry-After"]) == (429, "5")
        async with client_of(closed, "limited") as client:
            assert await call(client, "tcp_connect", messages.BISTREAM, closed.job) == "QuotaExceededError"
    async with asyncio.timeout(PATIENCE_S):
        while (await ask(closed.port, "GET", target, headers=for_jobs("limited"))).status == 429:
            pass


# --- revoking ---------------------------------------------------------------------------------------


@asynccontextmanager
async def upgraded(closed: Closed, name: str) -> AsyncIterator[Wire]:
    """An upgrade to the job with a token."""
    async with wire(closed.port) as client:
        fields = f"Host: x\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-Pagent-Token: secret-{name}\r\n"
        client.say(f"GET /jobs/-/{closed.job}/http/ HTTP/1.1\r\n{fields}\r\n".encode())
        assert (await client.head())[0] == 101
        client.say(b"hello")
        async with asyncio.timeout(PATIENCE_S):
            assert await client.reader.readexactly(5) == b"hello"
        yield client


async def reload(closed: Closed, *tokens: AccessToken, **access: Any) -> None:
    """Have the router read other tokens, and wait for it."""
    settings = replace(closed.settings, access=Access(tokens=tokens, **access))
    read = asyncio.Event()
    handler = logging.Handler()
    handler.emit = lambda record: read.set()  # type: ignore[method-assign]
    rereading = logging.getLogger("pagent.runtime.rereading")
    rereading.addHandler(handler)
    rereading.setLevel(logging.INFO)
    try:
        closed.router.reload(lambda: settings)
        async with asyncio.timeout(PATIENCE_S):
            await read.wait()
    finally:
        rereading.removeHandler(handler)
        rereading.setLevel(logging.NOTSET)


async def test_links_and_streams_of_a_revoked_token_are_closed(closed: Closed) -> None:
    async with upgraded(closed, "ann") as ann, upgraded(closed, "root") as root, wire(closed.port) as endless:
        endless.say(
            f"GET /jobs/-/{closed.job}/http/endless HTTP/1.1\r\nHost: x\r\nX-Pagent-Token: secret-ann\r\n\r\n".encode()
        )
        assert (await endless.head())[0] == 200
        waiting = asyncio.ensure_future(closed.api("ann", "POST", f"/jobs/-/{closed.job}/wait"))
        async with client_of(closed, "ann") as client:
            await client.jobs()
            await reload(closed, *(each for each in TOKENS if each.name != "ann"), header=closed.settings.access.header)
            async with asyncio.timeout(PATIENCE_S):
                assert await client.link.link.closed is not None
                for each in (ann, endless):
                    with suppress(ConnectionResetError):
                        await each.reader.read()
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await waiting
        root.say(b"still")
        async with asyncio.timeout(PATIENCE_S):
            assert await root.reader.readexactly(5) == b"still"
        assert (await closed.api("ann", "GET", f"/jobs/-/{closed.job}/info")).status == 401
        assert (await closed.api("root", "GET", f"/jobs/-/{closed.job}/info")).status == 200


async def test_links_and_streams_of_an_expired_token_are_closed(closed: Closed) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    await reload(closed, *(each for each in TOKENS if each.name != "bob"), token("bob", "proxy!any", expires=soon))
    async with upgraded(closed, "bob") as client, asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionResetError):
            assert await client.reader.read(1) == b""
    answer = await ask(closed.port, "GET", f"/jobs/-/{closed.job}/http/", headers=for_jobs("bob"))
    assert (answer.status, answer.text) == (401, "the token is not valid, or it has expired")


async def test_a_closed_router_is_not_opened_by_a_reload(closed: Closed) -> None:
    await reload(closed)
    assert (await closed.api("ann", "GET", "/connections")).status == 401
    assert (await ask(closed.port, "GET", "/connections")).status == 401
    await reload(closed, *TOKENS)
    assert (await closed.api("ann", "GET", "/connections")).status == 200


async def test_tokens_that_are_not_valid_change_nothing(closed: Closed, caplog: pytest.LogCaptureFixture) -> None:
    await reload(closed, *TOKENS, token("ann", "read"))
    assert "another token has the name 'ann'" in caplog.text
    assert (await closed.api("ann", "GET", "/connections")).status == 200


# --- the audit log ----------------------------------------------------------------------------------


async def test_the_audit_log(closed: Closed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT_LOG)
    job = await closed.create("bob")
    await closed.api("bob", "GET", f"/jobs/-/{job}/info")
    await closed.api("ann", "POST", f"/jobs/-/{job}/remove")
    await closed.api(None, "POST", "/shutdown")
    traced = [("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01")]
    await closed.api("bob", "GET", f"/jobs/-/{job}/file/secret-file?remove=1", headers=traced)
    async with client_of(closed, "bob") as client:
        made = await client.create_job("secret-name")
        await made.start(["sleep", "60"], port_expected_count=0)
        async with made.exec(["echo", "secret-argument"]) as process:
            await process.wait()
        await made.remove()
        with pytest.raises(MethodError):
            await client.link.call("job_kill", closed.job)
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == AUDIT_LOG]
    assert [(line["subject"], line["operation"], line["job"], line["agent"], line["result"]) for line in lines] == [
        ("bob", "job_create", job, "A", "ok"),
        ("ann", "job_remove", job, None, "404"),
        (None, "shutdown", None, None, "401"),
        ("bob", "file_remove", job, "A", "404"),
        ("bob", "job_create", made.uid, "A", "ok"),
        ("bob", "job_start", made.uid, "A", "ok"),
        ("bob", "job_exec", made.uid, "A", "ok"),
        ("bob", "job_remove", made.uid, "A", "ok"),
        ("bob", "job_kill", closed.job, None, "JobNotFoundError"),
    ]
    assert all(line["id"] and line["time"] for line in lines)
    assert [line["trace"] for line in lines] == [None, None, None, "ab" * 16, *[None] * 5]
    assert "secret" not in "".join(record.getMessage() for record in caplog.records if record.name == AUDIT_LOG)
