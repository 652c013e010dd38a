"""Targets of requests to ``control``: which are job traffic, and what the job gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.front.routes import job_target
from pagent.http1.incoming import IncomingHead, read_head
from pagent.rpc.directory import JobAddress


def head(target: str) -> IncomingHead:
    return read_head(f"GET {target} HTTP/1.1\r\nHost: h".encode())


PARTS = st.text("ab0-%.~!", min_size=1, max_size=8)


@given(PARTS, PARTS, st.text("ab/?=&%.", max_size=20))
def test_the_rest_of_a_target_is_the_jobs_own(connection: str, job: str, rest: str) -> None:
    found = job_target(head(f"/jobs/{connection}/{job}/http/{rest}"))
    assert found is not None
    assert found.job == JobAddress(connection, job)
    assert (found.prefix, found.target) == (f"/jobs/{connection}/{job}/http", f"/{rest}")
    assert (found.port, found.mount) == (None, None)


@pytest.mark.parametrize(
    "target",
    [
        "/", "/jobs", "/jobs/", "/jobs/c", "/jobs/c/j", "/jobs/c/j/http", "/jobs/c/j/http?a=1", "/jobs//j/http/",
        "/jobs/c//http/", "/jobs/c/j/HTTP/", "/jobs/c/j/info/http/", "/jobs/c/j/%68ttp/", "//jobs/c/j/http/",
        "/Jobs/c/j/http/", "/jobs/c?/j/http/", "/jobs/c/j?/http/", "/jobs/?a=/jobs/c/http/", "/x/jobs/c/j/http/",
    ],
)  # fmt: skip
def test_targets_that_are_no_job_traffic(target: str) -> None:
    assert job_target(head(target)) is None


def test_dots_are_not_resolved() -> None:
    """A name is what stands in the target: no other job is reached by a path that leads out of one."""
    found = job_target(head("/jobs/c/j/http/../../other/http/x"))
    assert found is not None
    assert (found.job.job_uid, found.target) == ("j", "/../../other/http/x")
    found = job_target(head("/jobs/../j/http/x"))
    assert found is not None
    assert found.job.connection_id == ".."
