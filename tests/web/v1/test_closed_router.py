"""Scopes, quotas, owners and the audit log of /v1 in a closed router."""

from __future__ import annotations

import hashlib
import json
import logging

import pytest

from pagent.config.model import Settings
from pagent.config.router import Access, AccessQuota, AccessToken
from pagent.log import AUDIT_LOG
from tests.kit.routers import router_settings
from tests.web.v1.portal import Portal, site


def token(name: str, *scopes: str, jobs: int | None = None) -> AccessToken:
    return AccessToken(name, hashlib.sha256(name.encode()).hexdigest(), scopes, quota=AccessQuota(jobs=jobs))


CLOSED = router_settings(
    access=Access(
        tokens=(
            token("alice", "read", "jobs", jobs=2),
            token("bob", "read", "jobs"),
            token("reader", "read!any"),
            token("elsewhere", "read", "jobs!agent=another"),
        )
    )
)


async def test_jobs_belong_to_their_token(settings: Settings) -> None:
    async with site(settings, CLOSED) as (router, _):
        alice, bob, reader, elsewhere = (
            Portal(router.control_port, name) for name in ("alice", "bob", "reader", "elsewhere")
        )
        created = await alice.ask("POST", "/v1/jobs", {"key": "k"})
        assert (created.status, created.json["owner"]) == (201, "alice")
        job = created["Location"] or ""
        other = await bob.ask("POST", "/v1/jobs", {"key": "k"})
        assert (other.status, other.json["owner"]) == (201, "bob")
        assert other.json["uid"] != created.json["uid"]
        for method, target in (("GET", job), ("GET", f"{job}/wait"), ("DELETE", job), ("POST", f"{job}/kill")):
            assert (await bob.ask(method, target)).status == 404
        assert len((await bob.get("/v1/jobs"))["jobs"]) == 1
        assert len((await reader.get("/v1/jobs"))["jobs"]) == 2
        assert (await reader.ask("POST", "/v1/jobs", {})).status == 403
        assert (await reader.ask("DELETE", job)).status == 403
        assert (await elsewhere.ask("POST", "/v1/jobs", {})).status in (403, 503)
        assert (await Portal(router.control_port).ask("GET", "/v1/jobs")).status == 401
        assert len((await reader.get("/v1/jobs"))["jobs"]) == 2


async def test_a_quota_counts_new_jobs_only(settings: Settings) -> None:
    async with site(settings, CLOSED) as (router, _):
        alice = Portal(router.control_port, "alice")
        wanted = [{"key": "1"}, {"key": "2"}, {"key": "3"}, {"key": "1"}]
        assert [(await alice.ask("POST", "/v1/jobs", each)).status for each in wanted] == [201, 201, 429, 200]


async def test_each_change_is_a_line_of_the_audit_log(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT_LOG)
    async with site(settings, CLOSED) as (router, agent):
        alice = Portal(router.control_port, "alice")
        job = (await alice.ask("POST", "/v1/jobs", {}, [("X-Request-Id", "mine")]))["Location"] or ""
        await alice.ask("POST", f"{job}/start", {"args": ["true"], "port_expected_count": 0})
        await alice.get(f"{job}/wait")
        await alice.ask("DELETE", job)
        lines = [json.loads(record.message) for record in caplog.records if record.name == AUDIT_LOG]
        assert [line["operation"] for line in lines] == ["job_create", "job_start", "job_remove"]
        uid = job.rpartition("/")[2]
        assert {(line["subject"], line["job"], line["agent"], line["result"]) for line in lines} == {
            ("alice", uid, agent.uid, "ok")
        }
        assert lines[0]["id"] == "mine"
