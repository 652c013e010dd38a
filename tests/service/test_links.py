"""The owner of jobs: a link for peers of part 1, all links of a uid for peers that name an instance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.config.model import ClientSettings, ServerSettings, Settings
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import CallFailed, Peer
from tests.kit.transfers import eventually

OTHER_TOKEN = "another-token"
#: Long enough to dial again.
LINGER_S = 1.0


def dial(agent: Agent, instance: str | None = "i1", **options: Any) -> Any:
    return peers.dial(agent.rpc_port, options.pop("token", TOKEN), instance=instance, extensions=["flow"], **options)


async def new_job(peer: Peer, **options: Any) -> str:
    uid: str = (await peer.call("job_create", **options))["uid"]
    return uid


def uids(agent: Agent) -> set[str]:
    return {job.uid for job in agent.jobs.jobs()}


async def test_a_job_lives_as_long_as_its_owner_has_a_link(agent: Agent) -> None:
    async with dial(agent) as first:
        async with dial(agent, "another process") as second:
            job = await new_job(second)
        await eventually(lambda: len(agent.links) == 1)
        assert (await first.call("job_info", job))["uid"] == job
        assert await first.call("job_count_current_connection") == 1
    await eventually(lambda: not uids(agent))


async def test_a_peer_without_an_instance_owns_by_link(agent: Agent) -> None:
    async with dial(agent, None) as first:
        async with dial(agent, None) as second:
            job = await new_job(second)
            assert await first.call("job_count_current_connection") == 0
        await eventually(lambda: not uids(agent))
        with pytest.raises(CallFailed, match="JobNotFoundError"):
            await first.call("job_info", job)


@pytest.mark.parametrize("options", [{"uid": "another"}, {"token": OTHER_TOKEN}], ids=["uid", "realm"])
async def test_links_of_another_owner_keep_no_job(settings: Settings, options: dict[str, Any]) -> None:
    server = ServerSettings(accept_tokens=(TOKEN, OTHER_TOKEN))
    async with running_agent(replace(settings, server=server)) as agent, dial(agent, **options) as other:
        async with dial(agent) as peer:
            await new_job(peer)
        await eventually(lambda: not uids(agent))
        assert await other.call("job_count_current_connection") == 0


async def test_a_new_link_of_the_owner_stops_the_linger_timers(agent: Agent) -> None:
    async with dial(agent) as peer:
        lingers = await new_job(peer, linger=LINGER_S)
        await new_job(peer)
    await eventually(lambda: uids(agent) == {lingers})
    async with dial(agent, "a later process") as peer:
        # One that another owner made with the same time shows that the time is over.
        async with dial(agent, uid="another") as another:
            ended = await new_job(another, linger=LINGER_S)
        await eventually(lambda: ended not in uids(agent))
        assert uids(agent) == {lingers}
    await eventually(lambda: not uids(agent))


async def test_the_linger_timer_starts_with_the_last_link(agent: Agent) -> None:
    async with dial(agent) as first:
        async with dial(agent) as second:
            job = await new_job(second, linger=0.0)
        await eventually(lambda: len(agent.links) == 1)
        assert uids(agent) == {job}
        assert await first.call("job_count_current_connection") == 1
    await eventually(lambda: not uids(agent))


@pytest.mark.parametrize(("linger", "state"), [(600.0, "PENDING"), (None, "FINISHED")])
async def test_a_start_outlives_the_link_as_its_job_does(linger: float | None, state: str, agent: Agent) -> None:
    async with dial(agent) as other:
        async with dial(agent) as peer:
            job = await new_job(peer, linger=linger)
            await peer.start(peers.UNARY, "job_start", job, ["sleep", "1000"], None)

            async def info() -> Any:
                return await other.call("job_info", job)

            while (await info())["state"] == "NEW":
                pass
        await eventually(lambda: len(agent.links) == 1)
        if state == "FINISHED":
            await other.call("job_wait", job)
        assert (await info())["state"] == state
        await other.call("job_remove", job)


async def test_an_adopted_job_belongs_to_its_new_owner(agent: Agent) -> None:
    async with dial(agent, uid="new owner") as new:
        async with dial(agent) as old:
            job = await new_job(old)
            assert (await new.call("job_adopt", job))["sender"]["uid"] == "new owner"
            assert await old.call("job_count_current_connection") == 0
        await eventually(lambda: len(agent.links) == 1)
        assert await new.call("job_count_current_connection") == 1
    await eventually(lambda: not uids(agent))


async def test_a_link_that_replaces_another_closes_it(agent: Agent) -> None:
    async with dial(agent) as lost:
        job = await new_job(lost)
        async with dial(agent, replaces=lost.link_id) as peer:
            await lost.socket.wait_closed()
            assert lost.socket.close_code == 1000
            assert await peer.call("job_count_current_connection") == 1
            assert uids(agent) == {job}


@pytest.mark.parametrize(
    "options", [{"instance": "another"}, {"uid": "another"}, {"instance": None}], ids=["instance", "uid", "none"]
)
async def test_no_other_process_closes_a_link(agent: Agent, options: dict[str, Any]) -> None:
    async with dial(agent) as first, dial(agent, **options, replaces=first.link_id) as second:
        assert await second.call("job_count_current_connection") == 0
        assert await first.call("job_count_current_connection") == 0
        assert len(agent.links) == 2


async def test_private_fields_are_printed_nowhere(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with dial(agent, "secret-instance", replaces="secret-replaces") as peer:
        ours = peer.hello[2][2]["instance"]
        assert len(ours) >= 32
        printed = repr(agent.links.show()) + repr(list(agent.list_jobs())) + caplog.text
        for private in ("secret-instance", "secret-replaces", ours, TOKEN):
            assert private not in printed


async def test_a_peer_without_extensions_gets_no_instance(agent: Agent, peer: Peer) -> None:
    assert peer.hello[2][2].keys() == {"auth", "platform", "properties"}


async def test_an_agent_that_dials_again_names_what_it_has_lost(settings: Settings) -> None:
    async with peers.listen() as listener:
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{listener.port}", reconnect_delay=0.1)
        async with running_agent(replace(settings, client=client)):
            first = await listener.accepted()
            data = first.hello[2][2]
            assert data["instance"]
            assert "replaces" not in data
            await first.close()
            again = (await listener.accepted()).hello[2][2]
            assert again["instance"] == data["instance"]
            assert again["replaces"] == first.link_id
