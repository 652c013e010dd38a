"""GET /metrics of a router."""

from __future__ import annotations

import sys
from dataclasses import replace

from pagent.config.model import ClientSettings, Settings
from pagent.config.router import PoolSettings
from pagent.runtime.metrics import METRICS
from tests.kit.agents import TOKEN, running_agent
from tests.kit.routers import ask, connected, router_settings, running_router
from tests.service.test_metrics import scrape, value
from tests.web.v1.portal import site


async def test_every_metric_of_a_router_is_on_the_page(settings: Settings) -> None:
    pools = {"p": PoolSettings(command=("true",))}
    async with running_router(router_settings(pools=pools)) as router:
        before = await scrape(router.control_port)
        assert value(before, "pagent_agents") == 0
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN)
        async with running_agent(replace(settings, client=client)) as agent:
            link = await connected(router, agent.uid)
            await router.directory.create(link, "a job")
            after = await scrape(router.control_port, host="10.0.0.7:9090")
            assert value(after, "pagent_agents") == 1
            assert value(after, "pagent_jobs", state="new") == 1
            assert value(after, "pagent_links", mode="server") == 1
            assert value(after, "pagent_streams", method="agent_watch") >= 1
            assert of_a_router() <= {name for name, _ in after}


def of_a_router() -> set[str]:
    suffixes = {"counter": "_total", "gauge": "", "histogram": "_count"}
    return {each.name + suffixes[each.kind] for each in METRICS if "router" in each.roles}


async def test_requests_for_jobs_are_measured_at_agent_and_router(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        link = router.directory.table.agent(agent.uid)
        assert link is not None
        uid = (await router.directory.create(link, "a job"))["uid"]
        before, of_agent = await scrape(router.control_port), await scrape(agent.control_port)
        server = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
        await link.call("job_start", uid, server, {}, port="auto", ready="connect")
        for target, status in (("/", 200), ("/none", 404)):
            answer = await ask(router.control_port, "GET", f"/jobs/-/{uid}/http{target}")
            assert answer.status == status
        await link.call("job_kill", uid, "KILL")
        assert (await ask(router.control_port, "GET", f"/jobs/-/{uid}/http/")).status == 502
        after = await scrape(router.control_port)
        for name, labels, count in (
            ("pagent_responses_total", {"class": "2xx"}, 1),
            ("pagent_responses_total", {"class": "4xx"}, 1),
            ("pagent_responses_total", {"class": "5xx"}, 1),
            ("pagent_request_seconds_count", {}, 2),
        ):
            assert value(after, name, **labels) - value(before, name, **labels) == count
        name = "pagent_request_seconds_count"
        # Agent and router are one process here.
        assert value(await scrape(agent.control_port), name) - value(of_agent, name) == 2
