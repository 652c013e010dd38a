"""GET /metrics of a router."""

from __future__ import annotations

from dataclasses import replace

from pagent.config.model import ClientSettings, Settings
from pagent.runtime.metrics import METRICS
from tests.kit.agents import TOKEN, running_agent
from tests.kit.routers import connected, running_router
from tests.service.test_metrics import scrape, value


async def test_every_metric_of_a_router_is_on_the_page(settings: Settings) -> None:
    async with running_router() as router:
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
    return {each.name + suffixes[each.kind] for each in METRICS if "router" in each.roles} - {"pagent_responses_total"}
