"""The changes that are due to a watcher, against a model: any sequence of changes, pages and messages."""

from __future__ import annotations

import itertools
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pagent.jobs.model import Job
from pagent.jobs.notes import JobNotes, NoteBudget
from pagent.jobs.watching import JobWatcher

uids = st.sampled_from(["a", "b", "c"])
names = st.sampled_from(["x", "y"])

Seen = tuple[int, dict[str, bytes]]


class FakeJob:
    """A job whose info is its uid and a number, which is another one after each change."""

    def __init__(self, uid: str, version: int, watcher: JobWatcher) -> None:
        self.uid = uid
        self.version = version
        self.notes = JobNotes(NoteBudget(), lambda name: watcher.note_changed(cast(Job, self), name))

    def info(self) -> dict[str, Any]:
        return {"uid": self.uid, "version": self.version}


class Machine(RuleBasedStateMachine):
    """``seen``: the jobs and notes by the messages; in the end they are those that exist."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, FakeJob] = {}
        self.watcher = JobWatcher(cast(dict[str, Job], self.jobs))
        self.seen: dict[str, Seen] = {}
        self.numbers = itertools.count()
        self.listed = False

    @rule(uid=uids)
    def create(self, uid: str) -> None:
        if uid not in self.jobs:
            self.jobs[uid] = FakeJob(uid, next(self.numbers), self.watcher)
            self.watcher.job_changed(uid)

    @rule(uid=uids)
    def change(self, uid: str) -> None:
        if uid in self.jobs:
            self.jobs[uid].version = next(self.numbers)
            self.watcher.job_changed(uid)

    @rule(uid=uids, name=names)
    def set_note(self, uid: str, name: str) -> None:
        if uid in self.jobs:
            self.jobs[uid].notes.set(name, str(next(self.numbers)).encode())

    @rule(uid=uids, name=names)
    def delete_note(self, uid: str, name: str) -> None:
        if uid in self.jobs:
            self.jobs[uid].notes.set(name, None)

    @rule(uid=uids)
    def remove(self, uid: str) -> None:
        if (job := self.jobs.pop(uid, None)) is not None:
            job.notes.clear()
            self.watcher.job_removed(uid)

    @precondition(lambda self: not self.listed)
    @rule()
    def list_all(self) -> None:
        self.listed = True
        jobs = cast(list[Job], [*self.jobs.values()])
        for info in self.watcher.page(jobs):
            self.take_info(info)
        for job in jobs:
            for message in self.watcher.notes(job):
                self.take_note(*message["note"])

    @precondition(lambda self: self.listed)
    @rule()
    def take(self) -> None:
        message = self.watcher.next()
        if message is None:
            assert not self.watcher.news.is_set()
            self.check()
        elif "removed" in message:
            del self.seen[message["removed"]]  # never of a job that the client does not know
        elif "job" in message:
            known = self.seen.get(message["job"]["uid"])
            assert known is None or known[0] != message["job"]["version"], "nothing is sent twice"
            self.take_info(message["job"])
        else:
            self.take_note(*message["note"])

    def take_info(self, info: dict[str, Any]) -> None:
        notes = self.seen[info["uid"]][1] if info["uid"] in self.seen else {}
        self.seen[info["uid"]] = (info["version"], notes)

    def take_note(self, uid: str, name: str, value: bytes | None) -> None:
        notes = self.seen[uid][1]  # never of a job that the client does not know
        if value is None:
            del notes[name]
        else:
            notes[name] = value

    @invariant()
    def what_is_due_is_bounded(self) -> None:
        existing = sum(1 + len([*job.notes]) for job in self.jobs.values())
        assert self.watcher.due <= existing + sum(1 + len(notes) for _, notes in self.seen.values())

    def check(self) -> None:
        existing = {
            uid: (job.version, {name: job.notes.get(name) for name in job.notes}) for uid, job in self.jobs.items()
        }
        assert self.seen == existing

    def teardown(self) -> None:
        if not self.listed:
            self.list_all()
        while self.watcher.news.is_set():
            self.take()
        self.check()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, deadline=None)
