"""The listener of the dashboard: what it serves, to whom, and with which fields."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pagent.access.operations import PAGE, PROBE
from pagent.config.model import DashboardSettings
from pagent.config.router import Access, AccessToken, RouterControl, RouterSettings
from pagent.errors import ConfigError
from pagent.log import ACCESS_LOG, AUDIT_LOG
from pagent.router import Router
from pagent.rpc.directory import JobAddress
from pagent.web.dashboard.app import dashboard_app, dashboard_routes
from pagent.web.v1.event_feed import EventFeed
from pagent.web.v1.table import v1_routes
from tests.access.conftest import token
from tests.kit.directory import OpenGate
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import ask, router_settings, running_router
from tests.web.closed_gate import Shut, Untouched, listener_of

DASHBOARD = DashboardSettings(enabled=True)


def dashboard_settings(**sections: object) -> RouterSettings:
    return router_settings(**{"dashboard": DASHBOARD, **sections})


def bearer(secret: str | None) -> list[tuple[str, str]]:
    assert secret is not None
    return [("Authorization", f"Bearer {secret}")]


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    settings = dashboard_settings(control=RouterControl(allowed_hosts=("desk.example",), access_log=True))
    async with running_router(settings) as running:
        yield running


# --- the gate ---------------------------------------------------------------------------------------


@pytest.fixture
async def shut() -> AsyncIterator[tuple[int, Shut]]:
    """The port of a dashboard whose gate lets nothing pass, and the gate."""
    gate, routes = Shut(), Untouched()
    async with listener_of(gate, routes, dashboard_app(routes, gate, EventFeed(routes))) as port:
        yield port, gate


def test_it_serves_its_files_and_v1_and_a_probe() -> None:
    gate, routes = OpenGate(), Untouched()
    feed = EventFeed(routes)
    api = {(each.method, each.path): each.operation for each in v1_routes(routes, gate, feed)}
    others = {
        (each.method, each.path): each.operation
        for each in dashboard_routes(routes, gate, feed)
        if (each.method, each.path) not in api
    }
    assert others.pop(("GET", "/livez")) == PROBE
    assert {("GET", "/"), ("GET", "/main.js")} <= others.keys()
    assert set(others.values()) == {PAGE}
    assert len(dashboard_routes(routes, gate, feed)) == len(api) + len(others) + 1


async def test_no_handler_is_reached_around_the_gate(shut: tuple[int, Shut]) -> None:
    port, gate = shut
    for route in dashboard_routes(Untouched(), OpenGate(), EventFeed(Untouched())):
        path = re.sub(r":[^}]*}+", "}", route.path)
        target = path.format(job="job", agent="A", path="f", ticket="t", pool="p")
        for method in (route.method, "HEAD") if route.operation in (PAGE, PROBE) else (route.method,):
            gate.asked.clear()
            answer = await ask(port, method, target, b"{}" if method in ("POST", "PUT", "PATCH") else b"")
            assert answer.status == 403, target
            assert gate.asked == [(route.operation, JobAddress("-", "job") if "{job}" in path else None)]


# --- what is served ---------------------------------------------------------------------------------


async def test_the_page_and_its_files(router: Router) -> None:
    page = await ask(router.dashboard_port, "GET", "/")
    assert (page.status, page["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = page["Content-Security-Policy"] or ""
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    names = re.findall(r'(?:src|href)="(?:\./|/)?([\w./-]+)"', page.text)
    assert names
    for name in names:
        file = await ask(router.dashboard_port, "GET", f"/{name}")
        assert file.status == 200, name
        assert (file["X-Content-Type-Options"], file["Cache-Control"]) == ("nosniff", "no-cache")
    assert (await ask(router.dashboard_port, "HEAD", "/")).status == 200


async def test_a_file_that_the_browser_has_is_not_sent_again(router: Router) -> None:
    etag = (await ask(router.dashboard_port, "GET", "/main.js"))["ETag"] or ""
    for known, status in ((etag, 304), (f'"x", W/{etag}', 304), ("*", 304), ('"x"', 200), ("nonsense", 200)):
        answer = await ask(router.dashboard_port, "GET", "/main.js", headers=[("If-None-Match", known)])
        assert answer.status == status, known
        assert answer["ETag"] == etag


async def test_every_answer_is_protected(router: Router) -> None:
    for target in ("/", "/nowhere", "/v1", "/v1/nowhere", "/v1/jobs", "/v1/jobs/x/logs", "/livez"):
        answer = await ask(router.dashboard_port, "GET", target)
        assert answer["X-Frame-Options"] == "DENY", target
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
        policy = answer["Content-Security-Policy"] or ""
        assert "frame-ancestors 'none'" in policy
        if target != "/":
            assert policy.endswith("sandbox")
            assert "no-store" in (answer["Cache-Control"] or "")


@pytest.mark.parametrize(
    "target",
    [
        *(f"/jobs/-/{'0' * 32}/{what}" for what in ("http/", "info", "file/x", "archive")),
        *("/jobs/create", "/shutdown", "/info", "/connections", "/metrics", "/readyz", "/rpc/v1", "/.pagent/enter"),
        *("/app.py", "/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/vendor/../../app.py", "/index.html%00.js"),
        *("/assets/main.js", "/main.js/", "/main.js/x", "/MAIN.JS", "/.hidden", "/static", "/favicon.ico"),
    ],
)
async def test_nothing_else_is_served(target: str, router: Router) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        answer = await ask(router.dashboard_port, method, target, headers=bearer(router.dashboard_secret))
        assert answer.status in (301, 404), (method, target)
        assert answer.status == 404 or answer["Location"] in ("/app.py", "/main.js"), answer.fields


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"])
async def test_other_methods_on_the_page(method: str, router: Router) -> None:
    target = "127.0.0.1:1" if method == "CONNECT" else "/"
    assert (await ask(router.dashboard_port, method, target)).status in (400, 404, 405, 501)


async def test_a_websocket_to_the_page_is_refused(router: Router) -> None:
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    key = ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
    for target in ("/rpc/v1", f"/jobs/-/{'0' * 32}/http/"):
        assert (await ask(router.dashboard_port, "GET", target, headers=[*upgrade, key])).status == 404


async def test_hosts_and_origins(router: Router) -> None:
    port = router.dashboard_port
    for target in ("/", "/main.js", "/v1/jobs"):
        assert (await ask(port, "GET", target, host=f"evil.example:{port}")).status == 403
        for host in ("localhost:1", "[::1]", "desk.example"):
            assert (await ask(port, "GET", target, host=host)).status == 200
    for fields in ([("Origin", "http://evil.example")], [("Sec-Fetch-Site", "cross-site")]):
        secret = bearer(router.dashboard_secret)
        assert (await ask(port, "GET", "/v1/jobs", headers=[*fields, *secret])).status == 403
        assert (await ask(port, "POST", "/v1/jobs/x/kill", "{}", [*fields, *secret])).status == 403
    own = [("Origin", f"http://127.0.0.1:{port}"), ("Sec-Fetch-Site", "same-origin")]
    assert (await ask(port, "GET", "/v1/jobs", headers=own)).status == 200
    link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
    assert (await ask(port, "GET", "/", headers=link)).status == 200


# --- tokens -----------------------------------------------------------------------------------------


async def test_reading_needs_no_token_and_the_rest_does(router: Router) -> None:
    port, secret = router.dashboard_port, bearer(router.dashboard_secret)
    assert (await ask(port, "GET", "/v1/whoami")).json["scopes"] == ["read!any"]
    assert "exec!any" in (await ask(port, "GET", "/v1/whoami", headers=secret)).json["scopes"]
    assert (await ask(port, "GET", "/v1/whoami", headers=bearer("wrong"))).status == 401
    answer = await ask(port, "POST", "/v1/jobs", b"{}")
    assert (answer.status, answer["WWW-Authenticate"]) == (401, "Bearer")
    body = [*secret, ("Content-Type", "application/json")]
    assert (await ask(port, "POST", "/v1/jobs", b"{}", body)).status in (201, 503)


async def test_no_token_is_in_a_log(router: Router, caplog: pytest.LogCaptureFixture) -> None:
    secret = router.dashboard_secret or ""
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.INFO, ACCESS_LOG), caplog.at_level(20, AUDIT_LOG):
        for target in (
            "/v1/jobs",
            f"/?token={secret}",
            f"/v1/jobs?token={secret}",
        ):
            await ask(router.dashboard_port, "GET", target, headers=bearer(secret))
            await ask(router.dashboard_port, "GET", target, headers=bearer(f"{secret}x"))
        await ask(router.dashboard_port, "DELETE", "/v1/jobs/x", headers=bearer(secret))
    lines = [json.loads(each.message) for each in caplog.records if each.name == ACCESS_LOG]
    assert {each["subject"] for each in lines} == {"dashboard-1", None}
    assert secret not in "".join(each.getMessage() for each in caplog.records)


async def test_the_tokens_of_a_file_and_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# people\none\ntwo\n")
    settings = dashboard_settings(dashboard=DashboardSettings(enabled=True, token_file=file))
    async with running_router(settings) as router:
        assert router.dashboard_secret is None

        async def status(secret: str) -> int:
            return (await ask(router.dashboard_port, "DELETE", "/v1/jobs/x", headers=bearer(secret))).status

        assert [await status(each) for each in ("one", "two", "three")] == [404, 404, 401]
        reader, writer = await asyncio.open_connection("127.0.0.1", router.dashboard_port)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer one\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        file.write_text("three\n")
        router.reload(lambda: settings)
        async with asyncio.timeout(PATIENCE_S):
            await reader.read()
            writer.close()
        assert [await status(each) for each in ("one", "two", "three")] == [401, 401, 404]


async def test_a_closed_router_has_one_gate() -> None:
    access = Access(tokens=(token("ann", "read"),))
    async with running_router(dashboard_settings(access=access)) as router:
        port = router.dashboard_port
        assert router.dashboard_secret is None
        assert (await ask(port, "GET", "/")).status == 200
        assert (await ask(port, "GET", "/v1/jobs")).status == 401
        assert (await ask(port, "GET", "/nowhere")).status == 401
        whoami = await ask(port, "GET", "/v1/whoami", headers=bearer("secret-ann"))
        assert (whoami.status, whoami.json["name"]) == (200, "ann")


async def test_a_closed_router_has_no_file_for_the_dashboard(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("one\n")
    tokens: tuple[AccessToken, ...] = (token("ann", "read"),)
    dashboard = DashboardSettings(enabled=True, token_file=tmp_path / "tokens")
    with pytest.raises(ConfigError, match=r"dashboard\.token_file"):
        Router(dashboard_settings(access=Access(tokens=tokens), dashboard=dashboard))


async def test_beyond_the_loopback_an_open_router_does_not_serve_it() -> None:
    dashboard = DashboardSettings(enabled=True, interface=None)
    async with running_router(dashboard_settings(dashboard=dashboard)) as router:
        for target in ("/", "/main.js", "/v1/jobs"):
            answer = await ask(router.dashboard_port, "GET", target)
            assert answer.status == 403
            assert "access.open" in answer.text
    async with running_router(dashboard_settings(dashboard=dashboard, access=Access(open=True))) as router:
        assert (await ask(router.dashboard_port, "GET", "/", host="any.example")).status == 200


async def test_without_control_it_is_the_only_listener() -> None:
    async with running_router(dashboard_settings(control=RouterControl(enabled=False))) as router:
        assert (router.control_port, router.apps_port) == (0, 0)
        assert (await ask(router.dashboard_port, "GET", "/v1/agents")).json["agents"] == []
    with pytest.raises(ConfigError, match="nothing to do"):
        Router(router_settings(control=RouterControl(enabled=False)))
