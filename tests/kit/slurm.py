"""A Slurm cluster on this machine: munged, slurmctld and several slurmd, each in a folder of the test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.kit.peer import PATIENCE_S

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "squeue", "scancel")
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def missing() -> str:
    """Why there can be no cluster here; empty if there can be one."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"needs the packages slurm-wlm and munge: {', '.join(absent)}" if absent else ""


class Cluster:
    """A cluster that runs. ``environ``: for its commands."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = environ

    def run(self, *command: str) -> str:
        """Run a command of Slurm to its end; return its output."""
        return subprocess.run(
            command, env=dict(self.environ), capture_output=True, text=True, check=True, timeout=PATIENCE_S
        ).stdout

    def queue(self) -> list[str]:
        """The jobs that are queued or run, each with its name and its state."""
        return self.run("squeue", "--noheader", "--format=%j %T").splitlines()


def free_ports(count: int) -> list[int]:
    """Ports that no socket listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _configuration(folder: Path, nodes: int, munge: Path) -> str:
    host = socket.gethostname().partition(".")[0]
    control, *ports = free_ports(nodes + 1)
    lines = [
        "ClusterName=tests",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={control}",
        "SlurmUser=root",
        "SlurmdUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={munge}",
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
        "KillWait=5",
        "SchedulerParameters=sched_interval=1,bf_interval=1",
        *(
            f"NodeName=n{index} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 State=UNKNOWN"
            for index, port in enumerate(ports)
        ),
        "PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP",
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def cluster(folder: Path, nodes: int = 2) -> Iterator[Cluster]:
    """Start a cluster whose nodes have one CPU each; end all its processes after the block."""
    socket_path, key, configuration = folder / "munge.socket", folder / "munge.key", folder / "slurm.conf"
    folder.chmod(0o755)
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (folder / "state").mkdir()
    configuration.write_text(_configuration(folder, nodes, socket_path))
    environ = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(configuration)}
    commands = [
        ["munged", "--foreground", "--force", f"--socket={socket_path}", f"--key-file={key}",
         f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed", f"--log-file={folder}/munged.log"],
        ["slurmctld", "-D", "-i", "-f", str(configuration)],
        *(["slurmd", "-D", "-N", f"n{index}", "-f", str(configuration)] for index in range(nodes)),
    ]  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            log = (folder / f"{command[0]}-{len(started)}.out").open("wb")
            started.append(subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            log.close()
            if command[0] == "munged":
                _wait(socket_path.exists, folder)
        made = Cluster(folder, environ)
        _wait(lambda: made.run("sinfo", "--noheader", "--format=%t").split() == ["idle"], folder)
        yield made
    finally:
        _end(started)


def _wait(condition: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if condition():
                return
        except subprocess.CalledProcessError:
            pass  # the controller does not answer yet
        if time.monotonic() > deadline:
            logs = "\n".join(file.read_text(errors="replace")[-2000:] for file in sorted(folder.glob("*.out")))
            raise AssertionError(f"the cluster is not ready:\n{logs}")
        time.sleep(0.1)


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
    for process in reversed(started):
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
