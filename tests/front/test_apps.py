"""The apps listener, with a real agent and real jobs: which job a request is for, and what path mode rewrites."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator

import pytest

from pagent.agent import Agent
from pagent.client.link import connect
from pagent.config.router import RouterApps
from pagent.errors import ConfigError
from pagent.front.apps import AppRoutes, is_own
from pagent.rpc.directory import JobAddress
from tests.front.job import start_job
from tests.front.test_field import scripted_front
from tests.kit.agents import TOKEN
from tests.kit.directory import Front, KnownAgent, KnownJobs, running_front
from tests.kit.wire import Answer, wire

ORIGIN = "h:1"
KEY = f"Sec-WebSocket-Key: {'A' * 22}=="
PATHS = RouterApps(paths=True)
#: A server of the file x on two ports.
TWO_PORTS = """
import http.server, pathlib, sys, threading
pathlib.Path("x").write_text("x")
handler = http.server.SimpleHTTPRequestHandler
servers = [http.server.HTTPServer(("127.0.0.1", int(port)), handler) for port in sys.argv[1:]]
threading.Thread(target=servers[1].serve_forever).start()
servers[0].serve_forever()
"""


@pytest.fixture
async def front(agent: Agent) -> AsyncIterator[Front]:
    async with (
        connect(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as connection,
        running_front(KnownJobs(KnownAgent(connection.connection)), apps=PATHS) as running,
    ):
        yield running


@pytest.fixture
async def uid(front: Front) -> str:
    return await start(front)


async def start(front: Front) -> str:
    assert front.jobs.link is not None
    return (await start_job(front.jobs.link.connection)).split("/")[3]


def get(host: str, target: str = "/", *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


def post(host: str, target: str = "/", *fields: str) -> bytes:
    return get(host, target, "Content-Length: 1", *fields, method="POST") + b"x"


async def ask(front: Front, data: bytes) -> Answer:
    async with wire(front.apps_port) as client:
        return await client.ask(data)


# --- host mode --------------------------------------------------------------------------------------


async def test_a_job_by_its_host_name(front: Front, uid: str) -> None:
    answer = await ask(front, get(f"{uid}.localhost:8162", "/head?a=/b", "X-Request-Id: r"))
    assert answer.status == 200
    assert answer.body.decode().split("\r\n") == [
        "GET /head?a=/b HTTP/1.1",
        f"Host: {uid}.localhost:8162",
        "X-Forwarded-For: 127.0.0.1",
        f"X-Forwarded-Host: {uid}.localhost:8162",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Port: 8162",
        "X-Real-Ip: 127.0.0.1",
        "X-Request-Id: r",
        "",
        "",
    ]
    operation, job, _, _ = front.gate.judged[-1]
    assert (operation, job) == ("apps", JobAddress("-", uid))


@pytest.mark.parametrize("host", ["{}.localhost", "{}.LocalHost.", "{}.localhost:", "{}.localhost.:80"])
async def test_spellings_of_a_host_name(front: Front, uid: str, host: str) -> None:
    assert (await ask(front, get(host.format(uid.upper()), "/hello"))).body == b"hello"


async def test_an_absolute_target(front: Front, uid: str) -> None:
    target = f"http://{uid}.localhost/head"
    assert (await ask(front, get(f"{uid}.localhost:80", target))).body.startswith(b"GET /head HTTP/1.1\r\n")


async def test_requests_to_several_jobs_on_one_connection(front: Front, uid: str) -> None:
    other = await start(front)
    hosts = [f"{uid}.localhost", f"{other}.localhost", "x.localhost", f"{uid}.localhost", "h"]
    targets = ["/count", "/count", "/count", "/count", f"/{other}/hello"]
    async with wire(front.apps_port) as client:
        client.say(b"".join(map(get, hosts[:2], ["/hello", "/hello"])))
        assert [(await client.answer()).body for _ in range(2)] == [b"hello", b"hello"]
        client.say(get(hosts[0], "/hello") + b"".join(map(get, hosts, targets)))
        bodies = [(await client.answer()).body for _ in range(6)]
        assert bodies[:3] == [b"hello", b"2 0", b"1 0"]
        assert bodies[3].startswith(b"this host name is of no job")
        assert bodies[4:] == [b"2 0", b"hello"]


async def test_an_upgrade(front: Front, uid: str) -> None:
    for host, prefix in ((f"{uid}.localhost", ""), (ORIGIN, f"/{uid}")):
        async with wire(front.apps_port) as client:
            client.say(get(host, f"{prefix}/echo", "Connection: Upgrade", "Upgrade: Mine/2") + b"hello")
            status, fields = await client.head()
            assert (status, dict(fields)["X-A"]) == (101, "1")
            assert await client.reader.readexactly(11) == b"first hello"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://{uid}.localhost:1", 101),
        ("http://{uid}--80.localhost:1", 101),
        ("https://portal.example.org", 101),
        ("http://" + "0" * 32 + ".localhost:1", 403),
        ("https://" + "0" * 32 + "--80.localhost", 403),
        ("null", 403),
    ],
)
async def test_upgrades_that_pages_of_other_jobs_ask_for(front: Front, uid: str, origin: str, status: int) -> None:
    fields = (f"Origin: {origin.format(uid=uid)}", "Connection: Upgrade", "Upgrade: Mine/2")
    for host, target in ((f"{uid}.localhost:1", "/echo"), (ORIGIN, f"/{uid}/echo")):
        async with wire(front.apps_port) as client:
            client.say(get(host, target, *fields))
            assert (await client.head())[0] == status
    assert (await ask(front, get(f"{uid}.localhost:1", "/hello", fields[0]))).status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 404),  # path mode is on: a path that names no job
        (get("x.localhost"), 404),
        (get("localhost"), 404),
        (get("evil.example", "/connections"), 404),
        (get("{uid}0.localhost"), 404),
        (get("{uid}--0.localhost"), 404),
        (get("{uid}.localhost", "/", "Host: {uid}.localhost"), 400),
        (get("{uid}.localhost", "http://x.localhost/"), 400),
        (get("b\u00fccher.localhost"), 400),
        (get("{uid}.localhost", "/.pagent/enter/"), 404),
        (get("{uid}.localhost", "/.pagent/enter%3Fc=1"), 404),
        (get("{uid}.localhost", "//.pagent/enter"), 404),
        (get("{uid}.localhost", "/%2Epagent/"), 404),
        (get("h", "/{uid}/.pagent"), 404),
        (get("h", "/.pagent/"), 404),
        (get("h", "/rpc/v1"), 404),
        (get("{uid}.localhost", "/rpc/v1"), 404),  # the job's own
    ],
)
async def test_requests_for_no_job(front: Front, uid: str, data: bytes, status: int) -> None:
    asked = len(front.jobs.asked)
    answer = await ask(front, data.replace(b"{uid}", uid.encode()))
    assert answer.status == status
    assert b"<" not in answer.body.replace(b"<job>", b"").replace(b"<port>", b"").replace(b"/<32 ", b"")
    assert (b"not here" in answer.body) == (len(front.jobs.asked) > asked)
    assert not front.elsewhere


async def test_without_paths_every_path_is_of_a_host(front: Front) -> None:
    routes = AppRoutes(RouterApps())
    async with running_front(front.jobs, apps=RouterApps()) as other, wire(other.apps_port) as client:
        assert (await client.ask(get("h", f"/{'0' * 32}/"))).status == 404
        assert (await client.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 400
    assert routes.addresses(8162).address_of("a", None) == "http://a.localhost:8162/"


async def test_the_access_log_has_requests_for_no_job(front: Front, uid: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pagent.access")
    async with running_front(front.jobs, apps=PATHS, access_log=True) as logging_front:
        for target in (f"/{uid}/hello?secret", "/nothing?secret"):
            await ask(logging_front, get(ORIGIN, target))
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "pagent.access"]
    found = [(line["job"], line["path"], line["status"]) for line in lines]
    assert found == [(uid, "/hello", 200), (None, "/nothing", 404)]


async def test_a_port_of_a_job_with_several(front: Front) -> None:
    assert front.jobs.link is not None
    call = front.jobs.link.connection.call
    uid = (await call("job_create", "two"))["uid"]
    arguments = [sys.executable, "-c", TWO_PORTS, "{port}", "{port:b}"]
    info = await call("job_start", uid, arguments, {}, port="auto", ready="connect", more_ports={"b": "auto"})
    for port in info["ports"]:
        assert (await ask(front, get(f"{uid}--{port}.localhost", "/x"))).body == b"x"
        assert (await ask(front, get(ORIGIN, f"/{uid}:{port}/x"))).body == b"x"
    answer = await ask(front, get(f"{uid}--1.localhost", "/x"))
    assert (answer.status, b"port 1 is not one of the job's" in answer.body) == (502, True)


async def test_an_agent_of_the_field_has_no_other_ports() -> None:
    async with scripted_front(is_ours=False, apps=PATHS) as (front, script):
        script.answer = [200, [["Location", "/x"], ["Content-Length", "0"]]]
        uid = "0" * 32
        assert (await ask(front, get(f"{uid}--80.localhost"))).status == 404
        upgrade = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {'A' * 22}==",
        )
        assert (await ask(front, get(f"{uid}--80.localhost", "/", *upgrade))).status == 404
        assert (await ask(front, get(f"{uid}.localhost"))).value("location") == "/x"
        assert (await ask(front, get(ORIGIN, f"/{uid}/"))).value("location") == f"/{uid}/x"


# --- what concerns jobs alone ------------------------------------------------------------------------


async def test_cookies_and_fields_of_the_router_reach_no_job(front: Front, uid: str) -> None:
    fields = ("Cookie: pagent-ticket=x; a=1; __Host-pagent-ticket=y", "X-Pagent-Token: t", "x_pagent_token: t")
    for request in (get(f"{uid}.localhost", "/head", *fields), get(ORIGIN, f"/{uid}/head", *fields)):
        body = (await ask(front, request)).body.lower()
        assert b"cookie: a=1\r\n" in body
        assert b"pagent" not in body
    for request in (get(f"{uid}.localhost", "/cookies"), get(ORIGIN, f"/{uid}/cookies")):
        answer = await ask(front, request)
        assert [value for name, value in answer.fields if name.lower() == "set-cookie"] == ["a=1"]


@pytest.mark.parametrize(
    ("target", "is_so"),
    [
        ("/.pagent", True), ("/.pagent/", True), ("/.pagent?x", True), ("//.pagent/x", True), ("/./.pagent/x", True),
        ("/%2epagent/", True), ("/%2E%70agent/", True), ("/a/../.pagent/", True), ("/a/%2e%2e/.pagent/", True),
        ("/a%2f..%2f.pagent", True), ("/\\.pagent/", True), ("/%5c.pagent/", True), ("/../.pagent/", True),
        ("/", False), ("*", False), ("/.pagentx/", False), ("/a/.pagent/", False), ("/.well-known/x", False),
        ("/?/.pagent/", False), ("/a?x=../.pagent", False), ("/pagent/", False), ("/.pagent/../x", False),
    ],
)  # fmt: skip
def test_paths_of_the_router(target: str, is_so: bool) -> None:
    assert is_own(target) is is_so


# --- path mode --------------------------------------------------------------------------------------


async def test_a_job_by_its_path(front: Front, uid: str) -> None:
    answer = await ask(front, get(ORIGIN, f"/{uid}/head?a"))
    assert answer.body.startswith(f"GET /head?a HTTP/1.1\r\nHost: {ORIGIN}\r\n".encode())
    assert f"X-Forwarded-Prefix: /{uid}\r\n".encode() in answer.body


async def test_a_path_that_the_job_gets_as_a_whole() -> None:
    path = f"/abs/{'0' * 32}"
    async with scripted_front(is_ours=True, apps=PATHS) as (front, script):
        script.answer = [302, [["Location", f"{path}/lab"], ["Set-Cookie", "a=1; Path=/"], ["Content-Length", "0"]]]
        answer = await ask(front, post(ORIGIN, f"{path}/x?y"))
        assert (answer.value("location"), answer.value("set-cookie")) == (f"{path}/lab", f"a=1; Path={path}/")
        assert script.arguments[2] == f"{path}/x?y"
        assert "X-Forwarded-Prefix" not in dict(script.arguments[4])
        assert (await ask(front, get(ORIGIN, path))).value("location") == f"{path}/"
        assert (await ask(front, get(ORIGIN, f"{path}/.pagent/"))).status == 404


async def test_a_path_without_its_slash(front: Front, uid: str) -> None:
    answer = await ask(front, get(ORIGIN, f"/{uid}?a=b"))
    assert (answer.status, answer.value("location")) == (308, f"/{uid}/?a=b")
    assert (await ask(front, get(ORIGIN, f"/{uid}:80"))).value("location") == f"/{uid}:80/"


async def test_service_workers_have_no_path(front: Front, uid: str) -> None:
    assert (await ask(front, get(ORIGIN, f"/{uid}/hello", "service-worker: script"))).status == 403
    assert (await ask(front, get(f"{uid}.localhost", "/hello", "Service-Worker: script"))).status == 200


REWRITTEN = [
    ("Location", "/login", "{prefix}/login"),
    ("Location", "http://h:1/login", "http://h:1{prefix}/login"),
    ("Refresh", "1; url=/x", "1; url={prefix}/x"),
    ("Set-Cookie", "a=1; Path=/; Domain=h", "a=1; Path={prefix}/"),
    ("Set-Cookie", "__Host-a=1; Path=/", None),
    ("NEL", "{}", None),
]


@pytest.mark.parametrize("is_ours", [True, False])
async def test_the_head_of_an_answer_is_rewritten(is_ours: bool, caplog: pytest.LogCaptureFixture) -> None:
    uid = "0" * 32
    async with scripted_front(is_ours=is_ours, apps=PATHS) as (front, script):
        fields = [[name, value] for name, value, _ in REWRITTEN]
        script.answer = [302, [*fields, ["Content-Length", "0"]]]
        for _ in range(2):
            answer = await ask(front, post(ORIGIN, f"/{uid}/"))
            kept = [(name, value.format(prefix=f"/{uid}")) for name, _, value in REWRITTEN if value is not None]
            assert answer.fields[: len(kept)] == kept
        answer = await ask(front, post(f"{uid}.localhost"))
        assert answer.fields[: len(fields)] == [(name, value) for name, value, _ in REWRITTEN]
        assert front.routes is not None
        assert front.routes.dropped_cookies == 2
    assert caplog.text.count(f"job {uid} sets a cookie named __Host-*") == 1


async def test_heads_of_interim_answers_and_upgrades_are_rewritten() -> None:
    uid = "0" * 32
    cookie = [["Set-Cookie", "a=1; Path=/"]]
    async with (
        scripted_front(is_ours=True, apps=PATHS) as (front, script),
        wire(front.apps_port) as client,
    ):
        script.answer = [103, cookie, 101, [["Upgrade", "x"], *cookie]]
        client.say(post(ORIGIN, f"/{uid}/", "Connection: Upgrade", "Upgrade: x"))
        for status in (103, 101):
            got, fields = await client.head()
            assert (got, dict(fields)["Set-Cookie"]) == (status, f"a=1; Path=/{uid}/")


async def test_a_field_that_is_none_ends_the_answer() -> None:
    async with scripted_front(is_ours=True, apps=PATHS) as (front, script):
        script.answer = [200, [["Location", 1]]]
        assert (await ask(front, post(ORIGIN, f"/{'0' * 32}/"))).status == 502


# --- settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"domain": "a b"}, "apps.domain: 'a b' is not a domain name"),
        ({"url": "https://x"}, "apps.url: 'https://x' is not the address of a job"),
        ({"frame_origins": ("https://a", "https://a/")}, "apps.frame_origins[1]: 'https://a/' is not an origin"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AppRoutes(RouterApps(**settings))  # type: ignore[arg-type]
    assert str(caught.value).startswith(words)


def test_the_address_outside() -> None:
    routes = AppRoutes(RouterApps(url="https://{job}.apps.example.org"))
    assert routes.addresses(1).address_of("a", 80) == "https://a--80.apps.example.org/"
