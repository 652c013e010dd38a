"""Find out whether a program speaks HTTP, so that its address is printed as a URL only if it does.

The program is not asked: a connection is a failed login for some programs, and the only one for others. The signs are
a URL that it prints for its port, and otherwise its command and the scripts that this names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

from pagent.cli.ports.command_text import is_in_command

#: Programs that speak other protocols.
_OTHER_PROGRAMS: Final = frozenset((
    "beanstalkd", "cassandra", "dovecot", "dropbear", "exim", "gdbserver", "iperf", "iperf3", "mariadbd", "memcached",
    "mongod", "mongos", "mosquitto", "mysqld", "mysqld_safe", "named", "nats-server", "nc", "ncat", "netcat",
    "pgbouncer", "postfix", "postgres", "postmaster", "proftpd", "rabbitmq-server", "redis-sentinel", "redis-server",
    "rsync", "s_server", "slapd", "smbd", "socat", "sshd", "valkey-server", "vsftpd", "x11vnc", "Xtigervnc", "Xvnc",
))  # fmt: skip
#: Well-known ports of other protocols: files, shells, mail, names, directories, databases, queues, screens.
_OTHER_PORTS: Final = frozenset((
    21, 22, 23, 25, 53, 110, 143, 389, 465, 587, 636, 873, 993, 995, 1433, 1521, 1883, 2181, 3306, 3389, 4222, 5432,
    5671, 5672, 5900, 6379, 6432, 8883, 9042, 9092, 11211, 11300, 26379, 27017,
))  # fmt: skip
#: Programs that speak HTTP, and whose names do not say so.
_HTTP_PROGRAMS: Final = frozenset((
    "airflow", "apache2", "bokeh", "caddy", "code-server", "dash", "elasticsearch", "gotty", "grafana", "hugo",
    "jekyll", "jupyter", "jupyter-lab", "jupyter-notebook", "jupyter-server", "jupyterlab", "marimo", "minio",
    "mkdocs", "mlflow", "next", "nginx", "npm", "npx", "nuxt", "ollama", "panel", "php", "pnpm", "prometheus", "puma",
    "rackup", "rails", "rserver", "shiny-server", "solara", "sphinx-autobuild", "tensorboard", "ttyd", "vite", "voila",
    "yarn",
))  # fmt: skip

_WORD: Final = re.compile(r"[\w.+-]+")
#: Words of programs that speak HTTP. A URL is not one: it may be of another program.
_SPEAKS_HTTP: Final = re.compile(
    rb"http(?!s?:/)|\b(?:[aw]sgi|bottle|bun\.serve|cherrypy|daphne|deno\.serve|django|express|falcon|fastapi|fastify"
    rb"|flask|gradio|gunicorn|hypercorn|koa|nicegui|quart|sanic|shiny|sinatra|starlette|streamlit|tornado|uvicorn"
    rb"|waitress|websockets?|werkzeug)\b",
    re.IGNORECASE,
)
#: Options and code that give a certificate to a server.
_SPEAKS_TLS: Final = re.compile(
    rb"(?:^|\s)--(?:ssl|tls|https|cert)[\w-]*|ssl_context|load_cert_chain|https\.createServer|ListenAndServeTLS",
    re.IGNORECASE,
)


def may_speak_http(command: Sequence[str], port: int | None) -> bool:
    """Return False for a program that is known to speak another protocol, and for a port that is meant for one.

    :param port: the port that the program listens on.
    """
    return port not in _OTHER_PORTS and _OTHER_PROGRAMS.isdisjoint(_programs(command))


def scheme_of(command: Sequence[str], port: int | None, folder: str | None) -> str | None:
    """Return the scheme of a program's URL by its command; None if nothing says that it speaks HTTP.

    :param folder: the folder of this machine that has the scripts of the command; None for one of another host.
    """
    if not may_speak_http(command, port):
        return None
    if _HTTP_PROGRAMS.isdisjoint(_programs(command)) and not is_in_command(_SPEAKS_HTTP, command, folder):
        return None
    return "https" if is_in_command(_SPEAKS_TLS, command, folder) else "http"


def _programs(command: Sequence[str]) -> set[str]:
    """Return the words of a command that may be names of programs."""
    return {os.path.basename(word) for text in command for word in _WORD.findall(text)}


def url_at(scheme: str | None, local_port: int) -> str | None:
    """Return the URL of a local port; None without a scheme."""
    return None if scheme is None else f"{scheme}://127.0.0.1:{local_port}/"
