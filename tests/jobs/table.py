"""A process table of our own, for the rules of which process belongs to which job."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pagent.jobs.system import Process
from pagent.jobs.tree import JobTree
from pagent.jobs.trees import Trees

AGENT = os.getpid()
KEEPER = 2


@dataclass
class Table:
    """A system as its kernel would list it; `AGENT` is our own process."""

    subreapers: bool = True
    clock: float = 100.0
    processes: dict[int, Process] = field(default_factory=dict)
    folders: dict[int, str] = field(default_factory=dict)
    sent: list[tuple[int, int]] = field(default_factory=list)
    on_send: Any = None

    def add(self, pid: int, parent: int, *, session: int = 0, state: str = "S", folder: str = "/") -> Process:
        process = Process(pid, parent, session or pid, state, self.clock, 1.5, 1000)
        self.processes[pid] = process
        self.folders[pid] = folder
        return process

    def orphan(self, pid: int, parent: int) -> None:
        self.processes[pid] = self.processes[pid]._replace(parent=parent)

    # --- System -------------------------------------------------------------------------------------

    def has_subreapers(self) -> bool:
        return self.subreapers

    def adopts(self) -> bool:
        return self.subreapers

    def boot_id(self) -> str:
        return "boot"

    def machine_id(self) -> str:
        return "machine"

    def stat(self, pid: int) -> Process | None:
        return self.processes.get(pid)

    def children(self, pid: int) -> list[int]:
        return [process.pid for process in self.processes.values() if process.parent == pid]

    def own_children(self) -> list[int]:
        return self.children(AGENT)

    def all_processes(self) -> Iterable[Process]:
        return list(self.processes.values())

    def folder(self, pid: int) -> str | None:
        return self.folders.get(pid)

    def send(self, key: tuple[int, float], signal: int) -> bool:
        self.sent.append((key[0], signal))
        if self.on_send is not None:
            self.on_send(key[0], signal)
        return True

    def listening(self, pids: Iterable[int]) -> Iterable[tuple[str, int]]:
        return [("127.0.0.1", pid) for pid in pids]


def new_trees(table: Table, *, is_init: bool = False) -> Trees:
    trees = Trees(table, is_init=is_init)
    trees.keeper_started(KEEPER)
    table.add(KEEPER, AGENT)
    return trees


def start(trees: Trees, table: Table, uid: str, pid: int) -> JobTree:
    """A job whose supervisor is `pid`, and its main process the next one."""
    table.clock += 10
    tree = trees.new(uid, Path("/root") / uid)
    tree.supervisor_requested()
    tree.supervisor_started(table.add(pid, KEEPER, session=KEEPER).key)
    tree.leads(*table.add(pid + 1, pid).key)
    return tree


def kill_supervisor(tree: JobTree, table: Table) -> None:
    assert tree.supervisor is not None
    pid = tree.supervisor[0]
    for child in table.children(pid):
        table.orphan(child, KEEPER if KEEPER in table.processes else AGENT)
    del table.processes[pid]
    tree.supervisor_ended(empty=False)


def kill_keeper(trees: Trees, table: Table) -> None:
    for child in table.children(KEEPER):
        table.orphan(child, AGENT)
    del table.processes[KEEPER]
    trees.keeper_ended(KEEPER)


def pids_of(processes: Iterable[Process]) -> list[int]:
    return sorted(process.pid for process in processes)
