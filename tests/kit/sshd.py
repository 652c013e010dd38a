"""An sshd of the test: its own keys, configuration and port, on the loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.peer import PATIENCE_S
from tests.kit.slurm import free_ports

_SSHD = shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
#: Where Debian's sshd separates its privileges; there is no other way to name it.
_EMPTY = Path("/run/sshd")


def missing() -> str:
    """Return why there can be no sshd here; empty if there can be one."""
    if os.geteuid() != 0:
        return "sshd needs root"
    absent = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    if _SSHD is None or absent:
        return "needs the packages openssh-server and openssh-client"
    return ""


class Sshd:
    """``command``: runs a command on the host that the sshd is for, which is this one."""

    def __init__(self, process: subprocess.Popen[bytes], command: tuple[str, ...]) -> None:
        self.process = process
        self.command = command


@contextmanager
def running_sshd(folder: Path) -> Iterator[Sshd]:
    """Start an sshd that accepts one key; end it after the block."""
    assert _SSHD is not None
    for name in ("host", "user"):
        subprocess.run(
            ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name), check=True, timeout=PATIENCE_S
        )
    (port,) = free_ports(1)
    known = folder / "known"
    known.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    configuration = folder / "sshd_config"
    # The start files of the user's shell are not the test's affair, so its home is the folder.
    configuration.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f"SetEnv HOME={folder}\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    _EMPTY.mkdir(mode=0o755, exist_ok=True)
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            (_SSHD, "-D", "-e", "-f", configuration), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    ssh = ("ssh", "-F", "none", "-p", str(port), "-i", str(folder / "user"), "-o", "BatchMode=yes")
    try:
        _wait_for(port, process)
        yield Sshd(process, (*ssh, "-o", f"UserKnownHostsFile={known}", "127.0.0.1"))
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, "sshd has ended"
            assert time.monotonic() < deadline, "sshd does not listen"
        time.sleep(0.02)
