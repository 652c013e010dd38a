"""What /v1 takes and answers for tickets; tests/web/test_enter_app.py has what browsers do with them."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from pagent.config.model import Settings
from pagent.config.router import Access, RouterApps
from pagent.router_limits import TICKETS_PER_JOB
from tests.access.conftest import JOB, OWN, token
from tests.kit.agents import TOKEN
from tests.kit.field_agent import field_agent
from tests.kit.routers import connected, router_settings, running_router
from tests.kit.tickets import Person, apps_settings, ticket_site
from tests.web.v1.portal import Portal

COMMAND = [sys.executable, "-c", JOB, "{port}"]
START = {"args": COMMAND, "port": "auto", "ready": "connect"}


async def test_bodies_and_answers(settings: Settings) -> None:
    async with ticket_site(settings) as site:
        path = f"/v1/jobs/{site.jobs[0]}/tickets"
        (port,) = (await site.portal.get(f"/v1/jobs/{site.jobs[0]}"))["ports"]
        bad: list[dict[str, Any]] = [
            *({"ports": ports} for ports in ([], [0], [65536], [port, port], ["1"], [True], port, [1], [port] * 17)),
            *({"ttl_s": ttl} for ttl in (0, -1, 43201, 1.5, "60", True, None)),
            *({"code_s": code} for code in (0, 86401, None)),
            *({"embed": embed} for embed in (None, 1, "false")),
            *({"subject": subject} for subject in ("", "x" * 129, "a\nb", "\x00", 1)),
            *({"note": note} for note in ("x" * 257, 1)),
            {"unknown": 1},
        ]
        for body in bad:
            assert (await site.portal.ask("POST", path, body)).status == 400, body
        made = await site.make(ports=[port], ttl_s=43200, code_s=86400, subject="ä" * 64, note="x" * 256)
        assert list(made) == ["id", "urls", "expires_at"]
        assert list(made["urls"]) == [str(port)]
        assert (await Person(site.router.apps_port).post(made["urls"][str(port)])).status == 303
        assert (await site.portal.ask("POST", path)).status == 201  # without a body
        ids = [made["id"], *[(await site.make())["id"] for _ in range(3)]]
        page = await site.portal.get(f"{path}?limit=2")
        rest = await site.portal.get(f"{path}?limit=500&after={page['next']}")
        listed = [*page["tickets"], *rest["tickets"]]
        assert set(ids) < {each["id"] for each in listed}
        assert len(listed) == 5
        lives = [
            datetime.fromisoformat(each["expires_at"]) - datetime.fromisoformat(each["created_at"]) for each in listed
        ]
        assert {life.total_seconds() for life in lives} == {43200.0}
        for _ in range(TICKETS_PER_JOB - 5):
            await site.make()
        answer = await site.portal.ask("POST", path, {})
        assert (answer.status, answer["Retry-After"]) == (429, "60")


async def test_create_start_and_ticket_in_one_request(settings: Settings) -> None:
    tokens = (token("all", *OWN), token("some", "read", "jobs"))
    async with ticket_site(settings, apps_settings(access=Access(tokens=tokens)), jobs=0) as site:
        site.token = "secret-all"
        body = {"start": START, "ticket": {"subject": "Ann"}, "key": "one"}
        created = await site.portal.ask("POST", "/v1/jobs", body)
        assert created.status == 201, created
        (url,) = created.json["ticket"]["urls"].values()
        person = Person(site.router.apps_port)
        assert (await person.post(url)).status == 303
        assert (await person.get(url.partition(".pagent")[0])).status == 200
        again = await site.portal.ask("POST", "/v1/jobs", body)
        assert (again.status, again.json["uid"]) == (200, created.json["uid"])
        assert again.json["ticket"]["id"] != created.json["ticket"]["id"]
        assert (await site.portal.ask("POST", "/v1/jobs", {"ticket": {}})).status == 400
        assert (await site.portal.ask("POST", "/v1/jobs", {"start": START, "ticket": {"ports": []}})).status == 400
        assert "ticket" not in (await site.portal.ask("POST", "/v1/jobs", {})).json
        # Without the scope there is no ticket, and no job either.
        site.token = "secret-some"
        refused = await site.portal.ask("POST", "/v1/jobs", {"start": START, "ticket": {}})
        assert refused.status == 403
        assert (await site.portal.get("/v1/jobs"))["jobs"] == []
        site.token = "secret-all"
        path = f"/v1/jobs/{created.json['uid']}"
        assert (await site.portal.ask("POST", f"{path}/kill", {"signal": "KILL", "grace": 0})).status == 200
        assert (await site.portal.get(f"{path}/wait?timeout=10"))["state"] == "FINISHED"
        assert (await site.portal.ask("POST", f"{path}/tickets", {})).status == 409
        assert (await site.portal.ask("POST", "/v1/jobs", body)).json["ticket"] is None


async def test_jobs_without_an_address_or_a_port(settings: Settings) -> None:
    async with ticket_site(settings, router_settings()) as site:
        answer = await site.portal.ask("POST", f"/v1/jobs/{site.jobs[0]}/tickets", {})
        assert answer.status == 409
        assert "apps.enabled" in answer.json["detail"]
        link = await connected(site.router, site.agent.uid)
        new = (await site.router.directory.create(link, "job"))["uid"]
        assert (await site.portal.ask("POST", f"/v1/jobs/{new}/tickets", {})).status == 409
        assert (await site.portal.ask("POST", f"/v1/jobs/{'0' * 32}/tickets", {})).status == 404


async def test_an_agent_of_the_field(tmp_path: Path) -> None:
    """Such an agent keeps no notes: they are the router's own."""
    settings = apps_settings(apps=RouterApps(enabled=True), access=Access(tokens=(token("all", *OWN),)))
    async with running_router(settings) as router, field_agent("FIELD", router.server_port, TOKEN):
        await connected(router, "FIELD")
        portal = Portal(router.control_port, "secret-all")
        created = await portal.ask("POST", "/v1/jobs", {"agent": "FIELD", "start": {"args": ["x"]}})
        assert created.status == 201, created
        path = f"/v1/jobs/{created.json['uid']}/tickets"
        assert (await portal.ask("POST", path, {})).status == 400  # the agent does not say its port
        made = (await portal.ask("POST", path, {"ports": [80]})).json
        (url,) = made["urls"].values()
        person = Person(router.apps_port)
        assert [(await Person(router.apps_port).post(url)).status, (await person.post(url)).status] == [303, 403]
        short = (await portal.ask("POST", path, {"ports": [80], "code_s": 1})).json
        assert len((await portal.get(path))["tickets"]) == 2
        assert (await portal.ask("DELETE", f"{path}/{made['id']}")).status == 204
        assert [each["id"] for each in (await portal.get(path))["tickets"]] == [short["id"]]
