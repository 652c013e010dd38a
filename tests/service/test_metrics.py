"""GET /metrics and the probes of an agent, read with the client of the format's own project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pagent.agent import Agent
from pagent.config.model import ClientSettings, ControlSettings, Settings
from pagent.runtime.metrics import METRICS
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import CallFailed, Peer
from tests.kit.programs import ECHO, start_program
from tests.web.requests import ask

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(port: int, fields: Mapping[str, str] | None = None, *, host: str | None = None) -> Samples:
    answer = await ask(port, "GET", "/metrics", fields, host=host)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    return dict(samples_of(answer.body.decode()))


def samples_of(page: str) -> Iterator[tuple[tuple[str, tuple[tuple[str, str], ...]], float]]:
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield (sample.name, tuple(sorted(sample.labels.items()))), sample.value


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


async def test_every_metric_of_an_agent_is_on_the_page(agent: Agent, peer: Peer) -> None:
    await start_program(peer, ECHO)
    with pytest.raises(CallFailed):
        await peer.call("job_start", (await peer.call("job_create"))["uid"], ["no-such-program"], {})
    samples = await scrape(agent.control_port)
    suffixes = {"counter": "_total", "gauge": "", "histogram": "_count"}
    declared = {metric.name + suffixes[metric.kind] for metric in METRICS if "agent" in metric.roles}
    found = {name for name, _ in samples}
    assert declared - found == {"pagent_streams"}  # it has a sample for each method with a call
    assert {"pagent_process_open_fds", "pagent_process_resident_memory_bytes"} <= found
    assert all(name.startswith("pagent_") for name in found)


async def test_jobs_starts_and_failures_are_counted(agent: Agent, peer: Peer) -> None:
    before = await scrape(agent.control_port)
    await start_program(peer, ECHO)
    job = (await peer.call("job_create"))["uid"]
    with pytest.raises(CallFailed):
        await peer.call("job_start", job, ["no-such-program"], {})
    with pytest.raises(CallFailed):
        await peer.call("job_start", job, [], {})
    after = await scrape(agent.control_port)
    assert value(after, "pagent_jobs", state="running") == 1
    assert value(after, "pagent_job_starts_total") - value(before, "pagent_job_starts_total") == 1
    for reason in ("not_found", "arguments"):
        name = "pagent_job_start_failures_total"
        assert value(after, name, reason=reason) - value(before, name, reason=reason) == 1
    assert value(after, "pagent_call_seconds_count") > value(before, "pagent_call_seconds_count")


async def test_open_streams_and_links(agent: Agent, peer: Peer) -> None:
    job = await start_program(peer, ECHO)
    call = await peer.start(peers.BISTREAM, "tcp_connect", job)
    assert (await peer.next_of(call))[2] is True
    samples = await scrape(agent.control_port)
    assert value(samples, "pagent_streams", method="tcp_connect") == 1
    assert value(samples, "pagent_links", mode="server") == 1
    assert value(samples, "pagent_links", mode="client") == 0
    received = value(samples, "pagent_link_received_bytes_total")
    await peer.call("job_info", job)
    assert value(await scrape(agent.control_port), "pagent_link_received_bytes_total") > received


async def test_a_control_token_protects_the_metrics_and_not_the_probes(settings: Settings) -> None:
    control = ControlSettings(token="the control token")
    async with running_agent(replace(settings, control=control)) as agent:
        assert (await ask(agent.control_port, "GET", "/metrics")).status == 401
        await scrape(agent.control_port, {"Authorization": "Bearer the control token"}, host="10.0.0.7:9090")
        for path in ("/livez", "/readyz"):
            assert (await ask(agent.control_port, "GET", path, host="10.0.0.7")).status == 200


async def test_an_agent_that_dials_is_ready_with_its_first_link(settings: Settings) -> None:
    async with running_agent(settings) as router:  # any side that accepts links
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{router.rpc_port}", token=TOKEN, reconnect_delay=0.1)
        async with running_agent(replace(settings, client=client)) as agent:
            while (await ask(agent.control_port, "GET", "/readyz")).status != 200:
                await ask(router.control_port, "GET", "/livez")
            assert value(await scrape(agent.control_port), "pagent_links", mode="client") == 1


async def test_an_agent_that_cannot_reach_its_router_is_not_ready(settings: Settings) -> None:
    client = ClientSettings(enabled=True, address="127.0.0.1:1", token=TOKEN)
    async with running_agent(replace(settings, client=client)) as agent:
        answer = await ask(agent.control_port, "GET", "/readyz")
        assert (answer.status, answer.body) == (503, b"no link to a router\n")
        assert (await ask(agent.control_port, "GET", "/livez")).status == 200
