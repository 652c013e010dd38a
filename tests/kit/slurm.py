"""A Slurm cluster on this machine: munged, slurmctld and several slurmd, each in a folder of the test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.kit.peer import PATIENCE_S

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "squeue", "scancel")
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))

#: The only partition of a cluster that names no others: all nodes.
MAIN = ("PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP",)


def missing() -> str:
    """Return why there can be no cluster here; empty if there can be one."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"needs the packages slurm-wlm and munge: {', '.join(absent)}" if absent else ""


class ClusterPlan(NamedTuple):
    """``partitions`` and ``options`` are lines of slurm.conf."""

    nodes: int = 2
    cpus: int = 1
    partitions: Sequence[str] = MAIN
    options: Sequence[str] = ()


class Cluster:
    """A cluster. ``environ``: for its commands. The daemons are ``munged``, ``slurmctld``, ``n0``, ``n1`` and so on."""

    def __init__(self, folder: Path, plan: ClusterPlan) -> None:
        self.folder = folder
        self.environ: Mapping[str, str] = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
        self.nodes = [f"n{index}" for index in range(plan.nodes)]
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    # --- commands -------------------------------------------------------------------------------------

    def run(self, *command: str) -> str:
        """Run a command of Slurm to its end; return its output."""
        return subprocess.run(
            command, env=dict(self.environ), capture_output=True, text=True, check=True, timeout=PATIENCE_S
        ).stdout

    def queue(self, columns: str = "%j %T") -> list[str]:
        """Return a line for each job that is queued or runs: its name and its state."""
        return self.run("squeue", "--noheader", f"--format={columns}").splitlines()

    def job_id(self, name: str) -> str:
        """Return the id of the job of this name."""
        (found,) = [line.split()[0] for line in self.queue("%A %j") if line.split()[1] == name]
        return found

    def states(self) -> set[str]:
        """Return the states that nodes have."""
        return set(self.run("sinfo", "--noheader", "--format=%t").split())

    # --- daemons --------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a daemon, also one that has ended."""
        command = self._command(name)
        log = (self.folder / f"{name}.out").open("ab")
        self.daemons[name] = subprocess.Popen(
            command, env=dict(self.environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()

    def _command(self, name: str) -> list[str]:
        folder, conf = self.folder, self.environ["SLURM_CONF"]
        if name == "munged":
            files = ("socket", "key-file", "pid-file", "seed-file", "log-file")
            named = (f"--{each}={folder}/munge.{each.partition('-')[0]}" for each in files)
            return ["munged", "--foreground", "--force", *named]
        if name == "slurmctld":
            return ["slurmctld", "-D", "-i", "-f", conf]
        return ["slurmd", "-D", "-N", name, "-f", conf]

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a daemon; KILL after 10 s."""
        daemon = self.daemons[name]
        daemon.send_signal(number)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def until(self, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Wait for a condition. AssertionError with the logs of the daemons."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                if condition():
                    return
            except subprocess.CalledProcessError:
                pass  # the controller does not answer yet
            if time.monotonic() > deadline:
                logs = "\n".join(file.read_text(errors="replace")[-2000:] for file in sorted(self.folder.glob("*.out")))
                raise AssertionError(f"the cluster does not come to the state that is awaited:\n{logs}")
            time.sleep(0.1)

    def steps(self, name: str = "") -> list[psutil.Process]:
        """Return the processes of Slurm that run steps on nodes: those of the job of this name, or all."""
        title = f"slurmstepd: [{self.job_id(name)}." if name else "slurmstepd: ["
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith(title) and self._has(process):
                    found.append(process)
        return found

    def _has(self, process: psutil.Process) -> bool:
        """Whether a process is of this cluster, and not of another one on this machine. Its title may overwrite its
        environment.
        """
        named = process.environ().get("SLURM_CONF") == self.environ["SLURM_CONF"]
        return named or any(file.path.startswith(f"{self.folder}/") for file in process.open_files())

    def end_all(self) -> None:
        """End all daemons, and the processes that they have started."""
        for daemon in self.daemons.values():
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGCONT)
                daemon.send_signal(signal.SIGTERM)
        for name in reversed(self.daemons):
            self.end(name)
        for step in self.steps():
            for process in (*step.children(recursive=True), step):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def free_ports(count: int) -> list[int]:
    """Return ports that no socket listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _configuration(folder: Path, plan: ClusterPlan) -> str:
    host = socket.gethostname().partition(".")[0]
    control, *ports = free_ports(plan.nodes + 1)
    lines = [
        "ClusterName=tests",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={control}",
        "SlurmUser=root",
        "SlurmdUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={folder}/munge.socket",
        "CryptoType=crypto/munge",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool-%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/slurmd-%n.pid",
        f"SlurmctldLogFile={folder}/slurmctld.log",
        f"SlurmdLogFile={folder}/slurmd-%n.log",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "SwitchType=switch/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        "MpiDefault=none",
        "ReturnToService=2",
        "SchedulerParameters=sched_interval=1,bf_interval=1",
        *plan.options,
        *(
            f"NodeName=n{index} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={plan.cpus} State=UNKNOWN"
            for index, port in enumerate(ports)
        ),
        *plan.partitions,
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def cluster(folder: Path, plan: ClusterPlan = ClusterPlan()) -> Iterator[Cluster]:  # noqa: B008 - it cannot be changed
    """Start a cluster; end all its daemons after the block."""
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (folder / "state").mkdir()
    (folder / "slurm.conf").write_text(_configuration(folder, plan))
    made = Cluster(folder, plan)
    try:
        made.start("munged")
        made.until((folder / "munge.socket").exists)
        for name in ("slurmctld", *made.nodes):
            made.start(name)
        made.until(lambda: made.states() == {"idle"})
        yield made
    finally:
        made.end_all()
