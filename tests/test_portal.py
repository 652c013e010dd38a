"""The program of docs/portal.rst runs as it stands there."""

from __future__ import annotations

import asyncio
import hashlib
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pagent.config.model import Settings
from pagent.config.router import Access, AccessToken
from tests.kit.routers import router_settings
from tests.web.v1.portal import site

PAGE = Path(__file__).parent.parent / "docs" / "portal.rst"
SECRET = "the-token-of-a-portal"


def source() -> str:
    code = PAGE.read_text("utf-8").partition(".. code-block:: python\n")[2]
    lines = []
    for line in code.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line)
    return textwrap.dedent("\n".join(lines)).strip()


def module() -> Any:
    names: dict[str, Any] = {}
    exec(compile(source(), str(PAGE), "exec"), names)
    return SimpleNamespace(**names)


def test_it_is_short() -> None:
    assert len([line for line in source().splitlines() if line.strip()]) <= 60


async def test_the_portal(settings: Settings) -> None:
    token = AccessToken("portal", hashlib.sha256(SECRET.encode()).hexdigest(), ("read", "jobs"))
    async with site(settings, router_settings(access=Access(tokens=(token,)))) as (router, _):
        example = module()

        def use() -> None:
            portal = example.Portal(f"http://127.0.0.1:{router.control_port}", SECRET)
            job = portal.create("alice", "physics-1", "import sys; sys.exit(len(sys.argv))", ["a", "b"])
            assert (
                portal.create("alice", "physics-1", "import sys; sys.exit(len(sys.argv))", ["a", "b"])["uid"]
                == job["uid"]
            )
            assert (job["owner"], job["labels"]["user"]) == ("portal", "alice")
            assert portal.wait(job)["exit_code"] == 3
            portal.create("bob", "physics-1", "")
            assert [each["uid"] for each in portal.jobs_of("alice")] == [job["uid"]]
            portal.end(job)
            assert portal.jobs_of("alice") == []
            with pytest.raises(example.Refused, match="is not found"):
                portal.end(job)
            with pytest.raises(example.Refused, match="the token is not valid"):
                example.Portal(f"http://127.0.0.1:{router.control_port}", "another").jobs_of("alice")

        await asyncio.to_thread(use)
