"""Credentials of agents that pools have started: renewed in time, and refused after that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pagent.access.signed import SigningKeys
from pagent.config.model import Settings
from pagent.relay.pools import driver, joins
from pagent.relay.pools.tokens import CREDENTIAL_S, Joined, JoinTokens
from pagent.router import Router
from tests.kit.pools import JOIN, has_arrived, job, keys_in, message_of, pool_of, requests, running_pools, states
from tests.kit.routers import connected
from tests.kit.transfers import eventually

NOW = 1_000_000_000.0


class CountedTokens(JoinTokens):
    """Tokens of a clock that a test sets."""

    def __init__(self) -> None:
        super().__init__(SigningKeys.random(), lambda: self.now)
        self.now = NOW
        self.count = 0

    def credential(self, joined: Joined, instance: str) -> str:
        self.count += 1
        return super().credential(joined, instance)


@asynccontextmanager
async def aged_agent(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Router, CountedTokens, str]]:
    """A router with the agent of a pool whose first credential is too old, and the uid of the agent's job."""
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*JOIN)) as (router, _):
        tokens = CountedTokens()
        monkeypatch.setattr(router.pools.joins, "tokens", tokens)
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: has_arrived(router, wanted.uid))
        tokens.now += CREDENTIAL_S + 1
        yield router, tokens, wanted.uid


async def test_a_renewed_credential_is_good_when_the_first_one_is_not(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joins, "RENEWAL_S", 0.1)
    async with aged_agent(settings, tmp_path, monkeypatch) as (router, tokens, job_uid):
        count = tokens.count
        await eventually(lambda: tokens.count >= count + 2)  # the agent has answered the call of the one before
        link = await connected(router, requests(router.pools)[0].agent_uid)
        link.connection.link.abort("cut by the test")
        await eventually(lambda: router.directory.table.agent(link.uid) not in (None, link))
        assert states(router.pools) == ["connected"]
        await router.directory.remove(job_uid)


async def test_a_credential_that_was_not_renewed_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent ends, and the client of its job learns why."""
    monkeypatch.setattr(driver, "AWAY_S", 0.2)
    async with aged_agent(settings, tmp_path, monkeypatch) as (router, _, job_uid):
        link = await connected(router, requests(router.pools)[0].agent_uid)
        link.connection.link.abort("cut by the test")
        await eventually(lambda: states(router.pools) == ["ended"])
        assert "every router refuses it" in message_of(router, job_uid)
