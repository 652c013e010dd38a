"""Tell from its command whether a program speaks HTTP, so that its address is printed as a URL or not.

The program is not asked: a connection is a failed login for some programs, and the only one for others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

#: Programs that speak other protocols.
_OTHER_PROGRAMS: Final = frozenset((
    "beanstalkd", "cassandra", "dovecot", "dropbear", "exim", "gdbserver", "iperf", "iperf3", "mariadbd", "memcached",
    "mongod", "mongos", "mosquitto", "mysqld", "mysqld_safe", "named", "nats-server", "nc", "ncat", "netcat",
    "pgbouncer", "postfix", "postgres", "postmaster", "proftpd", "rabbitmq-server", "redis-sentinel", "redis-server",
    "rsync", "slapd", "smbd", "socat", "sshd", "valkey-server", "vsftpd", "x11vnc", "Xtigervnc", "Xvnc",
))  # fmt: skip
#: Well-known ports of other protocols: files, shells, mail, names, directories, databases, queues, screens.
_OTHER_PORTS: Final = frozenset((
    21, 22, 23, 25, 53, 110, 143, 389, 465, 587, 636, 873, 993, 995, 1433, 1521, 1883, 2181, 3306, 3389, 4222, 5432,
    5671, 5672, 5900, 6379, 6432, 8883, 9042, 9092, 11211, 11300, 26379, 27017,
))  # fmt: skip

_WORD: Final = re.compile(r"[\w./+-]+")


def speaks_http(command: Sequence[str], port: int | None) -> bool:
    """Return False for a program that is known to speak another protocol, and for a port that is meant for one.

    :param port: the port that the program listens on.
    """
    if port in _OTHER_PORTS:
        return False
    words = (os.path.basename(word) for text in command for word in _WORD.findall(text))
    return _OTHER_PROGRAMS.isdisjoint(words)
