from __future__ import annotations

import pytest

from pagent.config.model import Settings
from pagent.config.router import RouterApps
from pagent.front.pages import error_page
from pagent.relay import directory
from tests.kit.routers import Answer, ask, router_settings
from tests.web.v1.portal import site

HOSTILE = "<script>alert(1)</script>'\"&{heading}%s"


def page(status: int = 503, text: str = "why", state: str | None = None, *, reload: bool = True) -> str:
    return error_page(status, text, "r-1", state=state, retry_s=None, reload=reload)


@pytest.mark.parametrize(
    ("status", "state", "heading"),
    [
        (503, "PENDING", "This program is starting"),
        (503, "UNREACHABLE", "The computer of this program is not connected now"),
        (503, "RUNNING", "This program cannot be reached now"),
        (503, None, "This program cannot be reached now"),
        (502, "NEW", "This program was not started yet"),
        (502, "FINISHED", "This program has ended"),
        (502, "RUNNING", "This program does not answer"),
        (404, "RUNNING", "There is no such program, or it has been removed"),
        (414, None, "Request-URI Too Long"),
        (599, None, "Error"),
    ],
)
def test_the_heading_names_the_state(status: int, state: str | None, heading: str) -> None:
    found = page(status, state=state)
    assert f"<h1>{heading}</h1>" in found
    assert f"<title>{heading}</title>" in found
    assert str(status) in found
    assert "r-1" in found


def test_it_loads_again_with_503_only() -> None:
    assert '<meta http-equiv="refresh" content="2">' in page()
    assert "refresh" not in page(reload=False)
    assert "refresh" not in page(502, state="FINISHED")


def test_text_of_others_is_escaped() -> None:
    found = page(text=HOSTILE, state=HOSTILE)
    assert "<script" not in found
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in found
    assert len(found) < 1_500


async def test_each_listener_says_the_state_of_a_job(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "ROUTE_PENDING_WAIT_S", 0.05)
    monkeypatch.setattr(directory, "ROUTE_LINK_WAIT_S", 0.05)
    apps = router_settings(apps=RouterApps(enabled=True, interface="127.0.0.1"))
    async with site(settings, apps) as (router, agent):
        link = router.directory.table.agent(agent.uid)
        assert link is not None
        uid = (await router.directory.create(link, "<script>", linger=60.0))["uid"]

        async def pages() -> list[Answer]:
            accept = [("Accept", "text/html")]
            return [
                await ask(router.control_port, "GET", f"/jobs/-/{uid}/http/", headers=accept),
                await ask(router.apps_port, "GET", "/", headers=accept, host=f"{uid}.localhost"),
            ]

        async def check(status: int, heading: str) -> None:
            for page in await pages():
                assert (page.status, page["Content-Type"]) == (status, "text/html; charset=utf-8")
                assert f"<h1>{heading}</h1>" in page.text
                assert ("refresh" in page.text) is (status == 503)
                assert page["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"

        await check(502, "This program was not started yet")
        with router.directory.starting(uid):
            await check(503, "This program is starting")
        await link.call("job_start", uid, ["true"], {}, port_expected_count=0)
        await link.call("job_wait", uid)
        await check(502, "This program has ended")
        link.connection.link.abort("a test")
        await link.calls_ended()
        monkeypatch.setattr(router.directory.table, "newest", lambda key: None)
        await check(503, "The computer of this program is not connected now")
