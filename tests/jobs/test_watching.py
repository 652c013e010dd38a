"""What is due to a watcher, against a model: any sequence of changes, pages and messages."""

from __future__ import annotations

import itertools
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pagent.jobs.model import Job
from pagent.jobs.watching import JobWatcher

uids = st.sampled_from(["a", "b", "c"])


class FakeJob:
    """A job whose info is its uid and a number, which is another one after each change."""

    def __init__(self, uid: str, version: int) -> None:
        self.uid = uid
        self.version = version

    def info(self) -> dict[str, Any]:
        return {"uid": self.uid, "version": self.version}


class Machine(RuleBasedStateMachine):
    """``seen`` is what a client makes of the messages: it has to come to what exists."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, FakeJob] = {}
        self.watcher = JobWatcher(cast(dict[str, Job], self.jobs))
        self.seen: dict[str, int] = {}
        self.versions = itertools.count()

    @rule(uid=uids)
    def create(self, uid: str) -> None:
        if uid not in self.jobs:
            self.jobs[uid] = FakeJob(uid, next(self.versions))
            self.watcher.job_changed(uid)

    @rule(uid=uids)
    def change(self, uid: str) -> None:
        if uid in self.jobs:
            self.jobs[uid].version = next(self.versions)
            self.watcher.job_changed(uid)

    @rule(uid=uids)
    def remove(self, uid: str) -> None:
        if self.jobs.pop(uid, None) is not None:
            self.watcher.job_removed(uid)

    @rule()
    def page(self) -> None:
        for info in self.watcher.page(cast(list[Job], [*self.jobs.values()])):
            self.seen[info["uid"]] = info["version"]

    @rule()
    def take(self) -> None:
        message = self.watcher.next()
        if message is None:
            assert not self.watcher.news.is_set()
            self.check()
        elif "removed" in message:
            del self.seen[message["removed"]]  # never of a job that the client does not know
        else:
            info = message["job"]
            assert self.seen.get(info["uid"]) != info["version"], "nothing is sent twice"
            self.seen[info["uid"]] = info["version"]

    @invariant()
    def what_is_due_is_bounded(self) -> None:
        assert self.watcher.due <= len(self.jobs) + len(self.seen)

    def check(self) -> None:
        assert self.seen == {uid: job.version for uid, job in self.jobs.items()}

    def teardown(self) -> None:
        while self.watcher.news.is_set():
            self.take()
        self.check()


TestMachine = Machine.TestCase
